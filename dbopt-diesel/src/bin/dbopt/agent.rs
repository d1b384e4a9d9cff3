//! `dbopt agent`: reaches a server's files for `dbopt supervise`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args as ClapArgs;
use dbopt_diesel::core::secret::Secret;
use dbopt_diesel::supervise::{Machine, agent_router};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::Outcome;

/// Makes the server beside it a replica again, when `dbopt supervise` says so: rewinds it, or copies the primary.
///
/// Run it on the server's machine, as the user that the server runs as. The token is in $DBOPT_AGENT_TOKEN. Orders hold what the replica
/// logs in with: let it listen on a private network only. Ends on Ctrl-C and SIGTERM; what it is at work on is done first.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The server's name among [[database.nodes]]
    #[arg(long)]
    node: String,
    /// Its data directory
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:7432")]
    listen: SocketAddr,
    /// The folder of pg_ctl, pg_rewind, pg_basebackup and psql
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// What every program is started through, such as "runuser -u postgres --"
    #[arg(long, value_name = "COMMAND")]
    through: Option<String>,
    /// How the server is started, such as "pg_ctlcluster 15 main start"; pg_ctl without it
    #[arg(long, value_name = "COMMAND")]
    start: Option<String>,
    /// How the server is stopped, such as "pg_ctlcluster 15 main stop -m fast"; pg_ctl without it
    #[arg(long, value_name = "COMMAND")]
    stop: Option<String>,
    /// How the primary is logged in to, without its host; passwords are in ~/.pgpass
    #[arg(long, value_name = "CONNINFO", default_value = "user=postgres dbname=postgres")]
    source: String,
    /// The most that a copy takes from the primary in a second, such as 50M
    #[arg(long, value_name = "RATE", default_value = "100M")]
    max_rate: String,
}

pub(crate) async fn run(args: Args) -> Outcome {
    let token = std::env::var("DBOPT_AGENT_TOKEN").unwrap_or_default();
    if token.len() < 16 {
        return Err("DBOPT_AGENT_TOKEN is missing or shorter than 16 characters: whoever knows it can have this server copied anew. \
                    Write the same one for supervise.agent_token, such as `openssl rand -hex 24` gives"
            .into());
    }
    if !args.data.is_absolute() {
        return Err(format!("--data {}: write it from the root, /...", args.data.display()).into());
    }
    let mut machine = Machine::new(args.node, args.data);
    machine.programs = args.programs;
    machine.through = args.through.iter().flat_map(|words| words.split_whitespace()).map(str::to_owned).collect();
    (machine.start, machine.stop) = (args.start, args.stop);
    (machine.source, machine.max_rate) = (args.source, Some(args.max_rate));
    crate::supervise::log();
    for problem in machine.check().await {
        tracing::warn!("{problem}");
    }
    let listener = TcpListener::bind(args.listen).await.map_err(|error| format!("{}: {error}", args.listen))?;
    tracing::info!(node = machine.node, data = %machine.data.display(), "listening on {}", listener.local_addr()?);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let ended = async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    };
    let router = agent_router(Arc::new(machine), Secret::new(token));
    axum::serve(listener, router).with_graceful_shutdown(ended).await?;
    Ok(ExitCode::SUCCESS)
}
