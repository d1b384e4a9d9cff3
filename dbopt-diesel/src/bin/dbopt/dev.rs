//! `dbopt dev`: the development cluster from the command line.

mod show;
mod state;
mod status;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::{Outcome, term};
use state::Folder;

/// `systemctl status` uses the same number for "not running".
const NOT_RUNNING: u8 = 3;

/// How long the owner may take to end in order before it is killed (and its guardian does the rest).
const STOP_PATIENCE: Duration = Duration::from_secs(20);

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Where the running cluster is recorded
    #[arg(long, env = "DBOPT_DEV_DIR", default_value = ".dbopt", global = true, value_name = "DIR")]
    dev_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the cluster and keep it until Ctrl-C
    Up(up::UpArgs),
    /// Show role, timeline, position and lag of every node (exit code 3: not running)
    Status {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Print the `export` lines of the running cluster, for `eval "$(dbopt dev env)"`
    Env,
    /// Stop the cluster and wait until it is gone
    Down,
}

pub(crate) async fn run(args: Args) -> Outcome {
    let folder = Folder::new(args.dev_dir);
    match args.command {
        Command::Up(up) => up::run(up, &folder).await,
        Command::Status { json } => show_status(&folder, json).await,
        Command::Env => {
            let Some(state) = folder.running()? else { return Ok(not_running()) };
            print!("{}", show::environment(&state));
            Ok(ExitCode::SUCCESS)
        }
        Command::Down => down(&folder).await,
    }
}

async fn show_status(folder: &Folder, json: bool) -> Outcome {
    let Some(state) = folder.running()? else {
        if json {
            println!("{{\"running\":false}}");
            return Ok(ExitCode::from(NOT_RUNNING));
        }
        return Ok(not_running());
    };
    let report = status::look(&state).await;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", show::table(&report));
    }
    Ok(ExitCode::SUCCESS)
}

fn not_running() -> ExitCode {
    eprintln!("no development cluster runs here: start one with `dbopt dev up`");
    ExitCode::from(NOT_RUNNING)
}

async fn down(folder: &Folder) -> Outcome {
    let Some(owner) = folder.owner()? else {
        println!("no development cluster runs here");
        return Ok(ExitCode::SUCCESS);
    };
    let spinner = term::spinner("stopping");
    // It holds the lock, so the number is its own.
    let pid = i32::try_from(owner).ok().and_then(Pid::from_raw).ok_or("the lock names no process")?;
    let data = folder.state().map(|state| state.dir);
    kill_process(pid, Signal::TERM)?;
    let begin = Instant::now();
    let mut killed = false;
    while folder.owner()?.is_some() {
        if begin.elapsed() > STOP_PATIENCE && !killed {
            killed = true;
            kill_process(pid, Signal::KILL)?;
        }
        if begin.elapsed() > 2 * STOP_PATIENCE {
            return Err(format!("the owner, process {owner}, does not end").into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    // A killed owner's guardian is still at work; a folder named by the user stays.
    while killed
        && data.as_ref().is_some_and(|(dir, temporary)| *temporary && dir.exists())
        && begin.elapsed() < 2 * STOP_PATIENCE
    {
        sleep(Duration::from_millis(20)).await;
    }
    folder.forget();
    spinner.finish_and_clear();
    println!("stopped");
    Ok(ExitCode::SUCCESS)
}
