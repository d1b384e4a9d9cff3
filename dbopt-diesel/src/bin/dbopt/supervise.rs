//! `dbopt supervise`: the coordinator as a program; `dbopt switchover`: another primary by plan.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args as ClapArgs;
use dbopt_diesel::Config;
use dbopt_diesel::core::cluster::{Mode, Patroni};
use dbopt_diesel::supervise::{AgentClient, PatroniSwitchover, Readiness, Supervisor, grants, switchover_grants};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::Outcome;

/// What is said when the settings do not want it.
const NOT_WANTED: &str = "cluster.mode is \"observe\": somebody else promotes, or nobody. If that shall be dbopt, and no other program \
    (Patroni, a managed service) does, write `[cluster] mode = \"supervised\"`";

/// What is said when Patroni promotes.
const PATRONI_DOES: &str = "cluster.mode is \"patroni\": Patroni promotes, and a second coordinator would make a second primary. Stop Patroni for \
    good before you write `[cluster] mode = \"supervised\"`";

/// Watches all servers of the settings, and makes a replica the primary when it is lost.
///
/// Needs three servers or more; a second supervisor, on another machine, stands by for the first. Ends on Ctrl-C and SIGTERM.
/// With --check, exit code 0: a failover is possible; 1: it is not; 2: it is, and something could be better.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Say whether a failover would be possible and what is missing; change nothing
    #[arg(long, alias = "once")]
    check: bool,
    /// Print the statements that make a role with all that is needed and no more
    #[arg(long, value_name = "ROLE", num_args = 0..=1, default_missing_value = "dbopt_supervisor")]
    grants: Option<String>,
    /// Writes wait until other nodes have them: as supervise.synchronous = true
    #[arg(long)]
    synchronous: bool,
}

/// Makes another node the primary, without losing a write. Run it while no `dbopt supervise` holds the votes, or on stopping it. With
/// cluster.mode = "patroni" it is Patroni that does it; the leader is closed to writes beforehand, for which the role of the URLs needs rights.
#[derive(ClapArgs)]
pub(crate) struct SwitchoverArgs {
    /// The node's name, with Patroni the member's; the replica that has most without it
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
    /// With Patroni: open servers that are closed to writes since a switchover was killed; change nothing else
    #[arg(long, conflicts_with_all = ["to", "grants"])]
    open: bool,
    /// With Patroni: print the statements that make a role with all that is needed and no more
    #[arg(long, value_name = "ROLE", num_args = 0..=1, default_missing_value = "dbopt_operator")]
    grants: Option<String>,
}

/// Has Patroni make a replica anew from the leader, where it cannot follow any more: all that it has is thrown away.
#[derive(ClapArgs)]
pub(crate) struct ReinitializeArgs {
    /// The member's name
    member: String,
}

pub(crate) async fn run(args: Args) -> Outcome {
    if let Some(role) = args.grants {
        print!("{}", grants(&role));
        return Ok(ExitCode::SUCCESS);
    }
    let mut config = Config::load()?;
    config.supervise.synchronous |= args.synchronous;
    let wanted = config.cluster.mode == Mode::Supervised;
    let unwanted = if config.cluster.mode == Mode::Patroni { PATRONI_DOES } else { NOT_WANTED };
    let mut supervisor = Supervisor::new(&config)?;
    if args.check {
        let readiness = supervisor.check().await;
        print(&readiness);
        if !wanted {
            println!("- {unwanted}");
        }
        return Ok(match (readiness.is_ready() && wanted, readiness.findings.is_empty()) {
            (true, true) => ExitCode::SUCCESS,
            (true, false) => ExitCode::from(2),
            (false, _) => ExitCode::FAILURE,
        });
    }
    if !wanted {
        return Err(unwanted.into());
    }
    log();
    let agents = std::mem::take(&mut config.supervise.agents);
    if !agents.is_empty() {
        supervisor = supervisor.with_agent(Arc::new(AgentClient::new(agents, config.supervise.agent_token)?));
    }
    for finding in supervisor.check().await.findings {
        tracing::warn!(fatal = finding.fatal, "{}", finding.text);
    }
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        () = supervisor.run() => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    supervisor.farewell().await;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn switchover(args: SwitchoverArgs) -> Outcome {
    if let Some(role) = args.grants {
        print!("{}", switchover_grants(&role));
        return Ok(ExitCode::SUCCESS);
    }
    log();
    let config = Config::load()?;
    if config.cluster.mode == Mode::Patroni {
        let mut switchover = PatroniSwitchover::new(&config)?;
        return if args.open {
            open(&mut switchover).await
        } else {
            by_patroni(&mut switchover, args.to.as_deref()).await
        };
    }
    if args.open {
        return Err(
            "--open is for cluster.mode = \"patroni\": elsewhere `dbopt supervise` opens what may take writes".into()
        );
    }
    let mut supervisor = Supervisor::new(&config)?;
    let primary = supervisor.switchover(args.to.as_deref()).await?;
    println!("{primary} is the primary");
    // Replicas are repointed, and the old primary's state is told.
    for _ in 0..10 {
        let _ = supervisor.turn().await;
    }
    for problem in supervisor.check().await.problems() {
        println!("- {problem}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn by_patroni(switchover: &mut PatroniSwitchover, to: Option<&str>) -> Outcome {
    let done = switchover.run(to).await?;
    println!("{}", done.said);
    println!("{} takes writes, {:.1} s after the old leader did", done.to, done.took.as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

async fn open(switchover: &mut PatroniSwitchover) -> Outcome {
    let all = switchover.open().await;
    for (name, outcome) in &all {
        match outcome {
            Ok(()) => println!("{name} is open to writes again"),
            Err(error) => println!("! {error}"),
        }
    }
    if all.is_empty() {
        println!("no server is closed to writes");
    }
    Ok(if all.iter().all(|(_, outcome)| outcome.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) async fn reinitialize(args: ReinitializeArgs) -> Outcome {
    let config = Config::load()?;
    if config.cluster.mode != Mode::Patroni {
        return Err(
            "only Patroni is told to: cluster.mode is not \"patroni\". Elsewhere copy the replica with pg_basebackup"
                .into(),
        );
    }
    println!("{}", Patroni::new(&config.cluster.patroni)?.reinitialize(&args.member).await?);
    Ok(ExitCode::SUCCESS)
}

fn print(readiness: &Readiness) {
    match &readiness.primary {
        Some(primary) => println!("primary: {primary}"),
        None => println!("primary: none that can be told"),
    }
    println!("{}", if readiness.is_ready() { "a failover is possible" } else { "a failover is NOT possible" });
    for finding in &readiness.findings {
        println!("{} {}", if finding.fatal { "!" } else { "-" }, finding.text);
    }
}

pub(crate) fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = crate::term::wants_colour(&std::io::stderr());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // Programs read a line, people too.
    let _ = lines.with_target(!std::io::stderr().is_terminal()).try_init();
}
