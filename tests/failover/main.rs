//! Kills or freezes the primary of a supervised cluster under many writers and an application, again and again, and judges what they were
//! told; or changes it by plan under an application.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod application;
mod run;
mod switchovers;
mod verdict;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use verdict::{Run, Terms, judge};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// SIGKILL to all its processes; its agent brings it back.
    Kill,
    /// SIGSTOP to all its processes; SIGCONT once another one is the primary.
    Freeze,
    /// SIGKILL to all its processes; started by hand as it was, once another one is the primary, and an application with it that names it first.
    Restart,
}

#[derive(Parser)]
#[command(
    name = "cargo xtask failover",
    about = "Kills or freezes the primary under writers, and judges what they were told"
)]
struct Args {
    /// How often
    #[arg(long, default_value_t = 9)]
    runs: usize,
    /// What happens to the primary; all in turn without it
    #[arg(long)]
    fault: Option<Fault>,
    /// How many write at once, besides the application
    #[arg(long, default_value_t = 64)]
    writers: usize,
    /// Between two checks, of the coordinator and of the application's monitor: 100ms to 10s
    #[arg(long, default_value = "1s", value_parser = checks)]
    checks: Duration,
    /// How long the first acknowledged write elsewhere may take; 5s with checks every second, 30s with rarer ones
    #[arg(long, value_parser = seconds)]
    within: Option<Duration>,
    /// Acknowledge writes that no replica has; the last ones before the fault have reached none
    #[arg(long)]
    asynchronous: bool,
    /// How much there is in the database, such as 400MB
    #[arg(long, default_value = "0MB", value_parser = megabytes)]
    size: u64,
    /// Change the primary by plan so often, one after the other, under an application, in place of faults
    #[arg(long, value_name = "N")]
    switchovers: Option<usize>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| (0.0..1e6).contains(n));
    let millis = text.strip_suffix("ms").and_then(number).map(|n| n / 1000.0);
    let time = millis.or_else(|| text.strip_suffix('s').and_then(number)).map(Duration::from_secs_f64);
    time.ok_or_else(|| "write a time such as 10s".to_owned())
}

fn checks(text: &str) -> Result<Duration, String> {
    let possible = Duration::from_millis(100)..=Duration::from_secs(10);
    seconds(text).ok().filter(|time| possible.contains(time)).ok_or_else(|| "write a time from 100ms to 10s".to_owned())
}

fn megabytes(text: &str) -> Result<u64, String> {
    text.strip_suffix("MB").and_then(|n| n.parse().ok()).ok_or_else(|| "write a size such as 400MB".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    // With RUST_LOG=dbopt=info, the coordinators' own words.
    let silent = |_| tracing_subscriber::EnvFilter::new("off");
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(silent);
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    let args = Args::parse();
    if let Some(n) = args.switchovers {
        return switchovers::run(n).await;
    }
    let mut runs = Vec::new();
    println!(
        "run  fault     outage  acknowledged   lost  lost log  reported  coordinator  failed  timelines      back     whole"
    );
    for number in 0..args.runs {
        let in_turn = [Fault::Kill, Fault::Freeze, Fault::Restart][number % 3];
        let fault = args.fault.unwrap_or(in_turn);
        let run = run::run(&args, fault).await;
        println!("{number:>3}  {:<8} {}", format!("{fault:?}"), line(&run));
        runs.push(run);
    }
    let usual = if args.checks <= Duration::from_secs(1) { Duration::from_secs(5) } else { Duration::from_secs(30) };
    let promises = judge(&runs, Terms { within: args.within.unwrap_or(usual), synchronous: !args.asynchronous });
    for promise in &promises {
        let kept = if promise.broken == 0 { "kept".to_owned() } else { format!("BROKEN by {}", promise.broken) };
        println!("{kept:>12}  {}: {}", promise.name, promise.figure);
    }
    let kept = promises.iter().all(|promise| promise.broken == 0);
    println!("{} runs, {}", runs.len(), if kept { "every promise kept" } else { "promises broken" });
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn line(run: &Run) -> String {
    let time = |time: Option<Duration>| time.map_or("never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
    let bytes = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), |bytes| bytes.to_string());
    format!(
        "{:>5.2} s {:>13} {:>6} {:>9} {:>9} {:>12} {:>7}  {:<9} {:>9} {:>9}",
        run.outage.as_secs_f64(),
        run.acknowledged,
        run.lost.iter().sum::<usize>(),
        run.lost_log,
        bytes(run.reported),
        bytes(run.coordinator),
        run.failed,
        format!("{:?}", run.timelines),
        time(run.back),
        time(run.whole),
    )
}
