//! `dbopt dev up`: here until Ctrl-C, or in the background with an owner process of its own.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use clap::Args;
use dbopt_diesel::dev::{Cluster, DevError};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::state::{Folder, State};
use super::{show, status};
use crate::{Outcome, term};

#[derive(Args)]
pub(super) struct UpArgs {
    /// How many replicas stream from the primary
    #[arg(long, default_value_t = 3, value_name = "N")]
    replicas: usize,
    /// Let the last replica stream from the first one instead of from the primary
    #[arg(long)]
    cascade: bool,
    /// Without Redis
    #[arg(long)]
    no_redis: bool,
    /// The database to create
    #[arg(long, default_value = "app", value_name = "NAME")]
    database: String,
    /// Leave it running in the background; `dbopt dev down` ends it
    #[arg(long)]
    detach: bool,
    /// Put a proxy before every server
    #[arg(long)]
    proxied: bool,
    /// Keep the data here, and go on with what is there
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// We are the background process that owns a detached cluster
    #[arg(long, hide = true)]
    owner: bool,
}

/// What the owner of a detached cluster says to the command that started it, a line each.
#[derive(Deserialize, Serialize)]
enum Message {
    Step(String),
    Ready(State),
    Failed(String),
}

pub(super) async fn run(args: UpArgs, folder: &Folder) -> Outcome {
    if args.owner {
        return Ok(own(args, folder).await);
    }
    if let Some(owner) = folder.owner()? {
        return Err(already_running(owner).into());
    }
    if args.detach { detach(folder).await } else { stay(args, folder).await }
}

fn already_running(owner: u32) -> String {
    format!(
        "a development cluster is running here already (process {owner}): see `dbopt dev status`, or end it with `dbopt dev down`"
    )
}

/// In the foreground.
async fn stay(args: UpArgs, folder: &Folder) -> Outcome {
    let spinner = term::spinner("looking for PostgreSQL");
    let progress = spinner.clone();
    let owned = start(args, folder, move |step| progress.set_message(step)).await;
    spinner.finish_and_clear();
    let Some(owned) = owned? else { return Ok(ExitCode::FAILURE) };
    println!("{}", show::started(&owned.state, &status::look(&owned.state).await));
    println!("Ctrl-C stops it.");
    owned.ended.await;
    let spinner = term::spinner("stopping");
    owned.cluster.stop().await?;
    folder.forget();
    spinner.finish_and_clear();
    println!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// In the background process: reports by messages, then lives until it is told to end.
async fn own(args: UpArgs, folder: &Folder) -> ExitCode {
    // The other side may be gone: a detached cluster does not end with the terminal that wanted it.
    let say = |message: &Message| {
        let line = serde_json::to_string(message).unwrap_or_default();
        let _ = writeln!(std::io::stdout(), "{line}");
    };
    let owned = match start(args, folder, move |step| say(&Message::Step(step))).await {
        Ok(Some(owned)) => owned,
        Ok(None) => return ExitCode::FAILURE,
        Err(error) => {
            say(&Message::Failed(error.to_string()));
            return ExitCode::FAILURE;
        }
    };
    say(&Message::Ready(owned.state));
    owned.ended.await;
    let stopped = owned.cluster.stop().await;
    folder.forget();
    match stopped {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts an owner and waits for its word.
async fn detach(folder: &Folder) -> Outcome {
    let spinner = term::spinner("looking for PostgreSQL");
    let mut owner = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--owner")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(folder.log()?)
        .process_group(0)
        .spawn()?;
    let words = BufReader::new(owner.stdout.take().ok_or("the owner has no output")?);
    for line in words.lines() {
        match serde_json::from_str(&line?)? {
            Message::Step(step) => spinner.set_message(step),
            Message::Ready(state) => {
                spinner.finish_and_clear();
                println!("{}", show::started(&state, &status::look(&state).await));
                println!("`dbopt dev status` shows it, `dbopt dev down` stops it.");
                return Ok(ExitCode::SUCCESS);
            }
            Message::Failed(error) => return Err(error.into()),
        }
    }
    Err(format!("the background process ended without a word ({})", owner.wait()?).into())
}

struct Owned<E> {
    cluster: Cluster,
    state: State,
    ended: E,
    _lock: std::fs::File,
}

/// `None` when it was told to end before it was up.
async fn start(
    args: UpArgs,
    folder: &Folder,
    progress: impl Fn(String) + Send + Sync + 'static,
) -> Result<Option<Owned<impl Future<Output = ()>>>, Box<dyn std::error::Error>> {
    let Some(lock) = folder.own()? else {
        return Err(folder
            .owner()?
            .map_or_else(|| "another one is just ending; try again".to_owned(), already_running)
            .into());
    };
    let (mut interrupt, mut terminate, mut hangup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let mut ended = Box::pin(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
    });
    let temporary = args.data_dir.is_none();
    let cluster = tokio::select! {
        cluster = cluster(args, progress) => cluster?,
        () = &mut ended => return Ok(None),
    };
    let state = State::of(&cluster, temporary);
    folder.record(&state)?;
    Ok(Some(Owned { cluster, state, ended, _lock: lock }))
}

async fn cluster(args: UpArgs, progress: impl Fn(String) + Send + Sync + 'static) -> Result<Cluster, DevError> {
    let mut builder = Cluster::builder()
        .replicas(args.replicas)
        .redis(!args.no_redis)
        .database(&args.database)
        .proxied(args.proxied)
        .on_step(move |step| progress(step.to_string()));
    if args.cascade {
        if args.replicas < 2 {
            return Err(DevError::Invalid("--cascade needs two replicas or more".to_owned()));
        }
        builder = builder.cascade(args.replicas, 1);
    }
    if let Some(dir) = args.data_dir {
        builder = builder.data_dir(dir);
    }
    builder.start().await
}
