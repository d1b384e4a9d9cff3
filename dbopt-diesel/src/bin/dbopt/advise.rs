//! `dbopt advise`: which indexes are missing, and which are not needed.

mod migration;
mod show;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;
use dbopt_diesel::advise::{Options, advise, primary_of};

use crate::migrate::Settings;
use crate::{Outcome, term};

/// Which indexes the statements of a database miss, proved by its planner, and which of its indexes are not needed.
///
/// The statements are those that the servers have counted (the extension pg_stat_statements), or with --app those of a running application, with the
/// methods that run them. The planner is asked about indexes that are not there yet: with the extension HypoPG, or on a scratch copy.
/// Exit code 0: nothing to do; 2: something is advised; 1: it could not be found out.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The database, instead of the settings of dbopt or DATABASE_URL; a password in it is seen by all users of this machine
    #[arg(long, visible_alias = "database-url", value_name = "URL")]
    url: Option<String>,
    /// The admin address of an application whose statements are looked at, such as `http://127.0.0.1:9090`
    #[arg(long, value_name = "URL", conflicts_with = "statements")]
    app: Option<String>,
    /// A file with statements to look at, with semicolons between them
    #[arg(long, value_name = "FILE")]
    statements: Option<PathBuf>,
    /// A copy of the database that may be changed, to build indexes on; it is left as it was
    #[arg(long, value_name = "URL")]
    scratch: Option<String>,
    /// Do not look at statements that were run less often
    #[arg(long, value_name = "N", default_value_t = 10)]
    least_calls: u64,
    /// Write a migration for each verified index, into this folder or that of `dbopt migrate`
    #[arg(long, value_name = "FOLDER", num_args = 0..=1)]
    write_migration: Option<Option<PathBuf>>,
    /// Show what was rejected and what could not be looked at, too
    #[arg(long)]
    all: bool,
    /// For programs
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Outcome {
    let settings = Settings { folder: args.write_migration.clone().flatten(), url: args.url };
    let config = settings.config()?;
    let nodes = config.named_nodes();
    let nodes = nodes.map_err(|error| format!("{error}\n  or name it with --url, or in the variable DATABASE_URL"))?;
    let urls: Vec<String> = nodes.iter().map(|node| node.url.expose().to_owned()).collect();
    let spinner = term::spinner("looking at what is run");
    let looked = async {
        let workload =
            source::workload(args.app.as_deref(), args.statements.as_deref(), &urls, args.least_calls).await?;
        let options = Options { scratch: args.scratch, least_calls: args.least_calls, ..Options::default() };
        Ok::<_, Box<dyn std::error::Error>>(advise(&primary_of(&urls).await?, &workload, &options).await?)
    };
    let report = looked.await;
    spinner.finish_and_clear();
    let report = report?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", show::report(&report, args.all));
    }
    if args.write_migration.is_some() {
        for file in migration::write(&settings.folder(&config), &report)? {
            eprintln!("wrote {}", file.display());
        }
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}
