//! `dbopt cache warm`: asks a running service for what others will ask it for.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;
use reqwest::Client;
use tokio::time::Instant;

use crate::Outcome;
use crate::term::wants_colour;

/// The first failures are told; the rest is usually more of the same.
const SAMPLES: usize = 5;

#[derive(Args)]
pub(super) struct WarmArgs {
    /// Addresses of a running service, such as `http://127.0.0.1:8080/flights/7`
    #[arg(value_name = "URL", required_unless_present = "from")]
    urls: Vec<String>,
    /// More of them from a file, one a line; `-` is standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// How many are fetched at once
    #[arg(long, default_value = "8", value_name = "N")]
    concurrency: NonZeroUsize,
    /// How long an answer may take, in seconds
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    timeout: u64,
}

pub(super) async fn run(args: WarmArgs) -> Outcome {
    let mut urls = args.urls;
    if let Some(file) = &args.from {
        let text = read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        urls.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
    }
    if let Some(wrong) = urls.iter().find(|url| !url.starts_with("http://")) {
        return Err(format!(
            "`{wrong}` cannot be fetched: write http://host:port/path (this tool does not speak TLS; warm from \
                            inside the network, past the proxy)"
        )
        .into());
    }
    let client = Client::builder().timeout(Duration::from_secs(args.timeout.max(1))).build()?;
    let progress = bar(urls.len() as u64);
    let began = Instant::now();
    let fetches = urls.into_iter().map(|url| fetch(&client, url));
    let mut under_way = stream::iter(fetches).buffer_unordered(args.concurrency.get());
    let (mut fetched, mut failures) = (0_u64, Vec::new());
    while let Some(result) = under_way.next().await {
        match result {
            Ok(()) => fetched += 1,
            Err(failure) => failures.push(failure),
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let line = format!("fetched {fetched} in {:.1} s, {} failed", began.elapsed().as_secs_f64(), failures.len());
    let colour = wants_colour(&std::io::stdout());
    match (colour, failures.is_empty()) {
        (true, true) => println!("{}", line.green()),
        (true, false) => println!("{}", line.red()),
        (false, _) => println!("{line}"),
    }
    failures.iter().take(SAMPLES).for_each(|failure| eprintln!("  {failure}"));
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn fetch(client: &Client, url: String) -> Result<(), String> {
    let answer = client.get(&url).send().await.map_err(|error| format!("{url}: {}", innermost(&error)))?;
    let status = answer.status();
    // To the end: a service may read while it writes.
    answer.bytes().await.map_err(|error| format!("{url}: {}", innermost(&error)))?;
    if status.is_success() { Ok(()) } else { Err(format!("{url}: {status}")) }
}

/// The cause at the bottom, which is what a person can do something about.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

fn read(file: &Path) -> std::io::Result<String> {
    if file == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) }
}

fn bar(length: u64) -> ProgressBar {
    let template = if wants_colour(&std::io::stderr()) {
        "warming {bar:40.cyan} {human_pos}/{human_len} {per_sec:.dim} {eta:.dim}"
    } else {
        "warming {bar:40} {human_pos}/{human_len} {per_sec} {eta}"
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}
