//! `dbopt`: the operator's and developer's command. Each command is a module of its own; this file only dispatches.

mod dev;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Dev(args) => dev::run(args).await,
    };
    result.unwrap_or_else(|error| {
        eprintln!("dbopt: {error}");
        ExitCode::FAILURE
    })
}
