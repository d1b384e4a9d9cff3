//! `stale`: processes write and read cached registers through dbopt while everything around them breaks, and a judge decides from the history
//! whether anybody was shown something older than they were promised.

mod baseline;
mod faults;
mod history;
mod judge;
mod registers;
mod report;
mod worker;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use fastrand::Rng;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, interval, sleep};

use faults::{Fault, inflict};
use report::{Phase, Report};
use world::{Plan, World};

/// Looks for reads that are older than an acknowledged write.
#[derive(Parser)]
struct Cli {
    /// How long to go on.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Go on until so many operations were made, however long it takes.
    #[arg(long)]
    operations: Option<u64>,
    /// What chance begins with.
    #[arg(long)]
    seed: Option<u64>,
    /// How many processes there are.
    #[arg(long, default_value_t = 3)]
    processes: usize,
    /// How many callers each process has.
    #[arg(long, default_value_t = 24)]
    callers: usize,
    /// How many registers there are.
    #[arg(long, default_value_t = 60)]
    keys: u32,
    /// The longest pause of a caller between two operations, in milliseconds.
    #[arg(long, default_value_t = 10)]
    pace: u64,
    /// Only this fault, again and again.
    #[arg(long, value_enum)]
    fault: Option<Fault>,
    /// Each fault once, for a second or so.
    #[arg(long)]
    short: bool,
    /// Judge a plain cache-aside (moka, then DEL in Redis) instead of dbopt.
    #[arg(long)]
    baseline: bool,
    /// Write the result to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep the histories in this folder.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// One of the processes; it is told what to do on its standard input.
    #[command(hide = true)]
    Worker,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if let Some(Role::Worker) = cli.role {
        worker::run().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    tokio::select! {
        done = check(&cli) => done,
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
    }
}

async fn check(cli: &Cli) -> Result<ExitCode> {
    let seed = cli.seed.unwrap_or_else(|| if cli.short { 1 } else { fastrand::u64(..1_000_000) });
    let folder = tempfile::tempdir()?;
    let histories = cli.keep.clone().unwrap_or_else(|| folder.path().to_owned());
    std::fs::create_dir_all(&histories)?;
    let plan = Plan {
        processes: cli.processes,
        callers: cli.callers,
        keys: cli.keys,
        pace: cli.pace,
        settle: settle(cli).as_millis() as u64,
        seed,
        baseline: cli.baseline,
    };
    let world = World::start(plan, histories.clone()).await?;
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {elapsed} {msg}")?);
    bar.enable_steady_tick(Duration::from_millis(200));
    let began = Instant::now();
    let phases = go_through(cli, &world, Rng::with_seed(seed), &bar).await?;
    let stuck = world.end().await?;
    bar.finish_and_clear();
    let history = history::read(&histories)?;
    let report = Report::new(seed, began.elapsed(), &history, &phases, stuck);
    drop(world);
    println!("{report}");
    if let Some(path) = &cli.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?).context("write the result")?;
    }
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How long it takes until strong readers trust a new Redis.
fn settle(cli: &Cli) -> Duration {
    Duration::from_secs(if cli.short { 2 } else { 8 })
}

async fn go_through(cli: &Cli, world: &World, mut rng: Rng, bar: &ProgressBar) -> Result<Vec<Phase>> {
    let began = Instant::now();
    let over = || match (cli.operations, cli.short) {
        (Some(wanted), _) => world.figures().operations >= wanted,
        (None, true) => false,
        (None, false) => began.elapsed().as_secs_f64() >= cli.minutes * 60.0,
    };
    let mut faults = cli.fault.map_or_else(Fault::all, |fault| vec![fault]);
    let mut phases = Vec::new();
    let second = Duration::from_secs(1);
    loop {
        phases.push(pass(world, Doing::Settling, &mut rng, settle(cli) + second / 2, bar).await?);
        phases.push(pass(world, Doing::Calm, &mut rng, if cli.short { 3 * second } else { 5 * second }, bar).await?);
        for fault in &faults {
            let length = if cli.short { second } else { second.mul_f64(1.0 + 4.0 * rng.f64()) };
            phases.push(pass(world, Doing::Fault(*fault), &mut rng, length, bar).await?);
            let rest = if cli.short { second / 10 } else { second.mul_f64(1.0 + 2.0 * rng.f64()) };
            phases.push(pass(world, Doing::After, &mut rng, rest, bar).await?);
            if over() {
                return Ok(phases);
            }
        }
        if cli.short {
            return Ok(phases);
        }
        rng.shuffle(&mut faults);
    }
}

/// What a phase is about.
#[derive(Clone, Copy)]
enum Doing {
    /// Nothing breaks, but strong readers do not trust Redis yet.
    Settling,
    /// Nothing breaks: here it can be seen that results are cached.
    Calm,
    Fault(Fault),
    /// Just after a fault.
    After,
}

impl Doing {
    fn name(self) -> String {
        match self {
            Doing::Settling => "settling".to_owned(),
            Doing::Calm => report::CALM.to_owned(),
            Doing::Fault(fault) => fault.name(),
            Doing::After => "after a fault".to_owned(),
        }
    }
}

/// One phase.
async fn pass(world: &World, doing: Doing, rng: &mut Rng, length: Duration, bar: &ProgressBar) -> Result<Phase> {
    let (name, before, start) = (doing.name(), world.figures(), history::now());
    let happening = async {
        match doing {
            Doing::Fault(fault) => inflict(world, fault, rng, length).await,
            Doing::Settling | Doing::Calm | Doing::After => {
                sleep(length).await;
                Ok(())
            }
        }
    };
    let mut ticks = interval(Duration::from_millis(200));
    tokio::pin!(happening);
    loop {
        tokio::select! {
            done = &mut happening => {
                done.with_context(|| format!("while making {name}"))?;
                break;
            }
            _ = ticks.tick() => bar.set_message(format!("{:>9} operations; {name}", world.figures().operations)),
        }
    }
    Ok(Phase { name, start, figures: world.figures().since(&before) })
}
