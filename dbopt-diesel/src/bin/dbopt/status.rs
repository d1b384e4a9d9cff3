//! `dbopt status`: what a running application knows of its cluster, once or live.

mod live;
mod show;
mod view;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args as ClapArgs;
use reqwest::Client;

use crate::Outcome;
use view::View;

/// How long an application may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Nodes with their roles, states, lag, weights, pools and circuits; limits, cache, alerts and the last events.
///
/// On a terminal it is shown live until `q` is pressed; into a pipe, and with `--once` or `--json`, it is printed once.
/// Exit code 0: reads and writes can be served on every node; 1: no node can serve, or no answer; 2: something is degraded.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The application's admin address, such as `http://127.0.0.1:8080`
    #[arg(value_name = "URL", env = "DBOPT_ADMIN_URL")]
    url: String,
    /// Print it once
    #[arg(long)]
    once: bool,
    /// For programs: the status as the application tells it
    #[arg(long)]
    json: bool,
    /// Between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time between two looks: write 200ms to 1h, such as 1s");
    let time = humantime::parse_duration(text).map_err(|_| wrong())?;
    if (Duration::from_millis(200)..=Duration::from_secs(3600)).contains(&time) { Ok(time) } else { Err(wrong()) }
}

pub(crate) async fn run(args: Args) -> Outcome {
    let source = Source::new(&args.url)?;
    if args.json {
        let status: serde_json::Value = source.fetch().await?;
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(exit_code(status["health"].as_str().unwrap_or("down")));
    }
    if args.once || !std::io::stdout().is_terminal() {
        let view: View = source.fetch().await?;
        println!("{}", show::everything(&source.url, &view, None));
        return Ok(exit_code(&view.health));
    }
    live::run(&source, args.interval).await?;
    Ok(ExitCode::SUCCESS)
}

fn exit_code(health: &str) -> ExitCode {
    match health {
        "ok" => ExitCode::SUCCESS,
        "degraded" => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// Where the status comes from.
pub(crate) struct Source {
    client: Client,
    url: String,
}

impl Source {
    pub(crate) fn new(url: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let base = url.trim_end_matches('/').trim_end_matches("/metrics/json").trim_end_matches("/metrics");
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(format!(
                "`{url}` is no address: write it as http://host:port, where the application serves /metrics/json"
            )
            .into());
        }
        Ok(Source { client: Client::builder().timeout(PATIENCE).build()?, url: format!("{base}/metrics/json") })
    }

    pub(crate) async fn fetch<T: serde::de::DeserializeOwned>(&self) -> Result<T, String> {
        let url = &self.url;
        let answer = self.client.get(url).send().await.and_then(reqwest::Response::error_for_status);
        let text = match answer {
            Ok(answer) => answer.text().await.map_err(|error| format!("{url}: {error}"))?,
            Err(error) if error.is_connect() => {
                return Err(format!(
                    "nobody answers at {url}: is the application running, and is that its admin port?"
                ));
            }
            Err(error) => return Err(format!("{url}: {error}")),
        };
        serde_json::from_str(&text).map_err(|error| {
            format!("{url} is no status of dbopt ({error}): is another service there, or another version of dbopt?")
        })
    }
}
