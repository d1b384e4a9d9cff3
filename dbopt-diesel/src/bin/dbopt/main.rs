//! `dbopt`: the operator's and developer's command. Each command is a module of its own; this file only dispatches.

mod advise;
mod agent;
mod alerts;
mod cache;
mod dev;
mod migrate;
mod status;
mod supervise;
mod term;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a command returns: its exit code, or an error to print.
type Outcome = Result<ExitCode, Box<dyn Error>>;

#[derive(Parser)]
#[command(name = "dbopt", version, about = "Runs, watches and operates PostgreSQL clusters for dbopt applications")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A cluster on this machine to develop and test against: primary, replicas and Redis in about a second
    Dev(dev::Args),
    /// What applications keep in Redis: look, invalidate, clear, warm
    Cache(cache::Args),
    /// Nodes, pools, circuits, limits, alerts and the last events of a running application, live
    Status(status::Args),
    /// Migrations: what is applied and pending, forward, back, proved before they run
    Migrate(migrate::Args),
    /// Indexes that are missing, proved by the planner, and those that are not needed
    Advise(advise::Args),
    /// Watch the cluster, and make a replica the primary when it is lost
    Supervise(supervise::Args),
    /// Beside a server: bring it back as a replica when `dbopt supervise` says so
    Agent(agent::Args),
    /// Make another node the primary, by plan
    Switchover(supervise::SwitchoverArgs),
    /// Have Patroni make a replica anew from the leader
    Reinitialize(supervise::ReinitializeArgs),
    /// Who is told when something is wrong: try it out, and look what is
    Alerts(alerts::Args),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Dev(args) => dev::run(args).await,
        Command::Cache(args) => cache::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Advise(args) => advise::run(args).await,
        Command::Alerts(args) => alerts::run(args).await,
        Command::Agent(args) => agent::run(args).await,
        Command::Supervise(args) => supervise::run(args).await,
        Command::Switchover(args) => supervise::switchover(args).await,
        Command::Reinitialize(args) => supervise::reinitialize(args).await,
        Command::Migrate(args) => migrate::run(args).await,
    };
    result.unwrap_or_else(|error| {
        eprintln!("dbopt: {error}");
        ExitCode::FAILURE
    })
}
