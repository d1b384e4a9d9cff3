//! Several processes at several times the limit: what they admitted is judged by one clock.
//!
//! `cargo run --release -p dbopt-tests --bin limits -- --checks 1000000` makes a million checks in each of four processes; the tests run
//! a shorter form. It starts a Redis of its own, and kills one of the processes half-way if `--kill` is given.

mod judge;
mod worker;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use dbopt_diesel::dev::Cluster;
use tokio::process::{Child, Command};

/// Judges limits over several processes.
#[derive(Debug, Clone, Parser)]
pub(crate) struct Options {
    /// Processes.
    #[arg(long, default_value_t = 4)]
    processes: usize,
    /// Checks that each process makes.
    #[arg(long, default_value_t = 1_000_000)]
    checks: u64,
    /// The limit of all, in a second.
    #[arg(long, default_value_t = 20_000)]
    limit: u32,
    /// How many times the limit all processes ask for together.
    #[arg(long, default_value_t = 3.0)]
    demand: f64,
    /// Count each user's limit in place of that of all: all processes are the same user.
    #[arg(long)]
    user: bool,
    /// Kill one of the processes half-way.
    #[arg(long)]
    kill: bool,
    /// Where a worker finds Redis; without it, this is the judge.
    #[arg(long)]
    redis: Option<String>,
    /// Where a worker writes what it admitted.
    #[arg(long)]
    log: Option<PathBuf>,
}

impl Options {
    /// How many checks a process makes in a second.
    fn pace(&self) -> f64 {
        f64::from(self.limit) * self.demand / self.processes as f64
    }

    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.checks as f64 / self.pace())
    }
}

fn start(options: &Options, redis: &str, log: &PathBuf) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    let numbers = [
        ("--processes", options.processes.to_string()),
        ("--checks", options.checks.to_string()),
        ("--limit", options.limit.to_string()),
        ("--demand", options.demand.to_string()),
    ];
    for (name, value) in numbers {
        command.arg(name).arg(value);
    }
    if options.user {
        command.arg("--user");
    }
    command.arg("--redis").arg(redis).arg("--log").arg(log).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command.spawn()?)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let options = Options::parse();
    if let (Some(redis), Some(log)) = (&options.redis, &options.log) {
        return worker::run(&options, redis, log).await;
    }
    let cluster = Cluster::builder().replicas(0).start().await?;
    let redis = cluster.redis().context("a cluster with Redis")?.url();
    let folder = tempfile::tempdir()?;
    let logs: Vec<PathBuf> = (0..options.processes).map(|i| folder.path().join(i.to_string())).collect();
    let mut workers = logs.iter().map(|log| start(&options, &redis, log)).collect::<Result<Vec<_>>>()?;
    if options.kill {
        tokio::time::sleep(Duration::from_secs(1) + options.length() / 2).await;
        workers[0].kill().await?;
        println!("one process was killed");
    }
    for worker in workers.iter_mut().skip(usize::from(options.kill)) {
        ensure!(worker.wait().await?.success(), "a worker failed");
    }
    judge::judge(&options, &logs)
}
