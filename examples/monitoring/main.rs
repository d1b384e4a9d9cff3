//! `monitor`: the demo under traffic with Prometheus and Alertmanager beside it, on this machine, and what they see of it.

mod api;
mod checks;
mod dashboards;
mod receiver;
mod servers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use api::Api;
use checks::{Check, Report};
use clap::Parser;
use dashboards::Dashboard;
use flights::serve;
use indicatif::ProgressBar;
use servers::{Stack, free_port};
use tokio::time::{Instant, sleep};

/// Starts the demo, Prometheus and Alertmanager with the files of examples/monitoring, and shows what they see.
#[derive(Parser)]
struct Cli {
    /// Check that everything is there (targets, rules, data for every panel), print it, and end.
    #[arg(long)]
    once: bool,
    /// End after so long; with --once: how long everything may take to be there. Default: at Ctrl-C, with --once 90.
    #[arg(long)]
    seconds: Option<u64>,
    /// The folder with prometheus.yml, rules.yml, alertmanager.yml and grafana/.
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/monitoring"))]
    files: PathBuf,
}

/// How often is looked.
const LOOK: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    flights::log("warn");
    // Dropping the servers ends them, so Ctrl-C needs no more than this.
    tokio::select! {
        done = monitor(&cli) => done,
        () = serve::signal() => Ok(ExitCode::from(130)),
    }
}

async fn monitor(cli: &Cli) -> anyhow::Result<ExitCode> {
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner.set_message("checking the files");
    let dashboards = dashboards::read(&cli.files.join("grafana"))?;
    let offline = checks::files(&cli.files);

    let receiver = receiver::start(free_port()?, !cli.once).await?;
    let mut stack = Stack::start(&cli.files, receiver)?;
    let api = Api::new(stack.prometheus.clone(), stack.alertmanager.clone())?;
    let report = watch(cli, &spinner, &mut stack, &api, &dashboards).await;
    spinner.finish_and_clear();
    let mut report = report?;
    report.checks.splice(0..0, offline);
    report.checks.push(checks::scrape(&api, &stack.admin).await);
    if cli.once {
        print!("{}", report.table());
    }
    stack.stop().await;
    let failed = report.failed();
    if cli.once && failed.is_empty() {
        println!("Everything is there.");
    }
    for Check { what, result } in &failed {
        eprintln!("{what}: {}", result.as_ref().err().map_or("", String::as_str));
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks again and again: until everything is there, or for as long as somebody watches.
async fn watch(
    cli: &Cli,
    spinner: &ProgressBar,
    stack: &mut Stack,
    api: &Api,
    dashboards: &[Dashboard],
) -> anyhow::Result<Report> {
    let start = Instant::now();
    let seconds = cli.seconds.or(cli.once.then_some(90)).map(Duration::from_secs);
    let rules = count_rules(&cli.files)?;
    let mut told = false;
    loop {
        stack.check()?;
        let report = Report::look(api, dashboards, rules).await;
        let complete = report.failed().is_empty();
        if complete && !told && !cli.once {
            spinner.suspend(|| print!("{}", stack.addresses()));
            told = true;
        }
        let over = seconds.is_some_and(|seconds| start.elapsed() >= seconds);
        if over || complete && cli.once {
            return Ok(report);
        }
        let doing = if report.is_empty() { stack.progress() } else { report.summary() };
        spinner.set_message(format!("{:>3} s  {doing}", start.elapsed().as_secs()));
        sleep(LOOK).await;
    }
}

fn count_rules(files: &Path) -> anyhow::Result<usize> {
    let file = files.join("rules.yml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let is_rule = |line: &&str| ["- alert:", "- record:"].iter().any(|start| line.trim_start().starts_with(start));
    Ok(text.lines().filter(is_rule).count())
}
