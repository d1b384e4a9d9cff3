//! `dbopt migrate`: migrations from the command line.

mod downs;
mod lint;
mod new;
mod progress;
mod settings;
mod show;
mod validate;

use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};
use dbopt_diesel::core::schema::migration::{Direction, Migration};
use dbopt_diesel::migrate::{Back, Error, Forward, Migrator, Report, Status};

use crate::Outcome;
pub(crate) use new::stamp;
use progress::Progress;
pub(crate) use settings::Settings;
pub(crate) use show::{Paint, paint};

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The folder of the migrations, instead of schema.folder, diesel.toml or `migrations`
    #[arg(long, global = true, value_name = "FOLDER")]
    folder: Option<std::path::PathBuf>,
    /// The database, instead of the settings of dbopt or DATABASE_URL; a password in it is seen by all users of this machine
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the folder of a new migration
    New {
        /// What it does, such as `add_seats`
        #[arg(value_name = "NAME")]
        name: String,
        /// Declare that its statement cannot run in a transaction, such as CREATE INDEX CONCURRENTLY
        #[arg(long)]
        alone: bool,
    },
    /// Show which migrations are applied, pending, edited or missing
    Status {
        /// Fail when something is pending or does not agree
        #[arg(long)]
        check: bool,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Show what `up` would run, and print its SQL
    Plan(Ahead),
    /// Apply what is pending
    Up(Ahead),
    /// Take the last migration back
    Down(BackArgs),
    /// Take the last migration back and apply it again
    Redo(BackArgs),
    /// Derive down.sql for migrations that have none, and prove it: forward, back and forward again on a scratch database
    GenerateDown(downs::DownArgs),
    /// Tell what would hold others up or lose data, and how to do it safely
    Lint(lint::LintArgs),
    /// Try what is pending on a scratch database, and leave a receipt if all is well
    ///
    /// Each new migration goes forward, back and forward again, the catalog is compared each time, its locks are traced, the lint looks at it,
    /// and the statements of your application are prepared against the new schema.
    Validate(validate::ValidateArgs),
    /// Show everything that was ever run
    History {
        /// The last ones only
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

#[derive(ClapArgs, Clone)]
struct Ahead {
    /// The last version to apply
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// Print the SQL and change nothing
    #[arg(long)]
    dry_run: bool,
    /// A version that was edited or removed after it was applied, and is right as it is now; may be repeated
    #[arg(long, value_name = "VERSION")]
    accept_drift: Vec<String>,
    /// Copy tables that lose data first, in the same transaction
    #[arg(long)]
    backup: bool,
    /// The receipt of `dbopt migrate validate`, instead of schema.receipt; production demands one
    #[arg(long, value_name = "FILE")]
    receipt: Option<String>,
}

#[derive(ClapArgs, Clone)]
struct BackArgs {
    /// How many versions
    #[arg(long, value_name = "N", conflicts_with = "to")]
    steps: Option<usize>,
    /// The version that is to be the last one
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// Print the SQL and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Run it although data is lost
    #[arg(long)]
    accept_data_loss: bool,
    /// Copy tables that lose data first, in the same transaction
    #[arg(long)]
    backup: bool,
}

pub(crate) async fn run(args: Args) -> Outcome {
    let settings = Settings { folder: args.folder, url: args.url };
    match args.command {
        Command::New { name, alone } => new::run(&settings, &name, alone),
        Command::Status { check, json } => status(&settings, check, json).await,
        Command::Plan(ahead) => plan(&settings, &ahead).await,
        Command::Up(ahead) => up(&settings, ahead).await,
        Command::Down(back) => down(&settings, back, false).await,
        Command::Redo(back) => down(&settings, back, true).await,
        Command::GenerateDown(args) => downs::run(&settings, &args).await,
        Command::Lint(args) => lint::run(&settings, &args).await,
        Command::Validate(args) => validate::run(&settings, args).await,
        Command::History { limit, json } => history(&settings, limit, json).await,
    }
}

async fn status(settings: &Settings, check: bool, json: bool) -> Outcome {
    let (migrator, _) = settings.migrator(None)?;
    let status = migrator.status().await?;
    if json {
        println!("{}", show::status_json(&status)?);
    } else {
        println!("{}", show::status(&status));
    }
    Ok(if status.plan.is_settled() || !check { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn plan(settings: &Settings, ahead: &Ahead) -> Outcome {
    let (migrator, _) = settings.migrator(None)?;
    let status = migrator.status().await?;
    let pending = pending(&migrator, &status, ahead.to.as_deref())?;
    if !ahead.dry_run {
        eprintln!("{}", show::plan(&pending, &status));
    }
    for migration in pending {
        println!("{}", show::script(migration, Direction::Up));
    }
    Ok(ExitCode::SUCCESS)
}

fn pending<'a>(migrator: &'a Migrator, status: &Status, to: Option<&str>) -> Result<Vec<&'a Migration>, Error> {
    let to = to.map(|to| migrator.migrations().find(to)).transpose()?;
    let wanted = |version: &str| to.is_none_or(|to| version <= to.version.as_str());
    let versions: Vec<&str> = status.plan.pending().filter(|version| wanted(version)).collect();
    Ok(migrator.migrations().list().iter().filter(|m| versions.contains(&m.version.as_str())).collect())
}

async fn up(settings: &Settings, ahead: Ahead) -> Outcome {
    if ahead.dry_run {
        return plan(settings, &ahead).await;
    }
    let (migrator, _) = settings.migrator(ahead.receipt.clone())?;
    let Ahead { to, accept_drift, backup, .. } = ahead;
    let accept_drift = accept_drift.iter().map(|version| version.replace('-', "")).collect();
    let forward = Forward { to, accept_drift, backup, newer_is_fine: false };
    let done = shown(migrator, async |migrator| migrator.up(&forward).await).await;
    finish(done?, "everything is applied already")
}

/// Takes back, and applies again what was taken back if that is wanted.
async fn down(settings: &Settings, back: BackArgs, again: bool) -> Outcome {
    let (migrator, _) = settings.migrator(None)?;
    if back.dry_run {
        return show_back(&migrator, &back).await;
    }
    let work = async |migrator: Migrator| {
        let reverted = migrator.down(&options(&back)).await?;
        // Only what was taken back: others may be pending.
        match reverted.ran.first().map(|ran| ran.version.clone()) {
            Some(to) if again => migrator.up(&Forward { to: Some(to), ..Forward::default() }).await,
            _ => Ok(reverted),
        }
    };
    finish(shown(migrator, work).await?, "nothing is applied")
}

/// Shows what happens meanwhile.
async fn shown(migrator: Migrator, work: impl AsyncFnOnce(Migrator) -> Result<Report, Error>) -> Result<Report, Error> {
    let progress = Progress::new("looking at the database");
    let done = work(migrator.watched(progress.watch())).await;
    progress.end();
    done
}

fn options(back: &BackArgs) -> Back {
    let BackArgs { steps, to, accept_data_loss, backup, .. } = back.clone();
    Back { steps, to, accept_data_loss, backup }
}

async fn show_back(migrator: &Migrator, back: &BackArgs) -> Outcome {
    for migration in migrator.would_take_back(&options(back)).await? {
        println!("{}", show::script(&migration, Direction::Down));
    }
    Ok(ExitCode::SUCCESS)
}

fn finish(report: Report, nothing: &str) -> Outcome {
    println!("{}", show::report(&report, nothing));
    for late in &report.late_replicas {
        eprintln!("a replica has not replayed the migrations: {late}");
    }
    Ok(if report.late_replicas.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn history(settings: &Settings, limit: usize, json: bool) -> Outcome {
    let (migrator, _) = settings.migrator(None)?;
    let history = migrator.status().await?.history;
    let last = &history[history.len().saturating_sub(limit)..];
    if json {
        println!("{}", show::history_json(last)?);
    } else {
        println!("{}", show::history(last));
    }
    Ok(ExitCode::SUCCESS)
}
