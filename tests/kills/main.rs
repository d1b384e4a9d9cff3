//! Kills migrators, and servers under them, at random moments: what is there afterwards is a version boundary, and the history agrees.
//!
//! `cargo run -p dbopt-tests --bin kills -- --runner 30 --server 20` judges fifty moments; the tests run a shorter form. `--seed N` draws
//! the same moments again. With `--url` and `--folder` this is the migrator that is killed.

mod folder;
mod judge;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use dbopt_diesel::migrate::{Back, Forward, Migrations, Migrator};

/// Kills migrators and servers at random moments.
#[derive(Debug, Clone, Parser)]
pub(crate) struct Options {
    /// How many migrators are killed.
    #[arg(long, default_value_t = 30)]
    runner: usize,
    /// How many servers are killed under a migrator.
    #[arg(long, default_value_t = 20)]
    server: usize,
    /// What the moments are drawn from; without it they are others each time.
    #[arg(long)]
    seed: Option<u64>,
    /// The database of a migrator; without it, this is the judge.
    #[arg(long)]
    url: Option<String>,
    /// The folder of a migrator.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Takes everything back, in place of going forward.
    #[arg(long)]
    back: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    match (&options.url, &options.folder) {
        (Some(url), Some(folder)) => migrate(url, folder, options.back).await,
        (None, None) => judge::run(&options).await,
        _ => bail!("a migrator needs --url and --folder"),
    }
}

async fn migrate(url: &str, folder: &PathBuf, back: bool) -> Result<()> {
    let mut config = dbopt_tests::named([("primary", url.to_owned())]);
    config.schema.wait = Duration::from_secs(60);
    let migrator = Migrator::new(&config, Migrations::from_folder(folder)?)?;
    let report = if back {
        migrator.down(&Back { steps: Some(usize::MAX), accept_data_loss: true, ..Back::default() }).await?
    } else {
        migrator.up(&Forward::default()).await?
    };
    println!("{}", report.ran.len());
    Ok(())
}
