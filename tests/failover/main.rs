//! Kills or freezes the primary of a supervised cluster under many writers, again and again, and judges what they were told; or changes it
//! by plan under an application.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod switchovers;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use dbopt_diesel::dev::{Cluster, LocalAgent};
use dbopt_tests::plain_writers::Writers;
use dbopt_tests::supervised::{supervisor, timeline};
use tokio::time::{Instant, sleep};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// SIGKILL to all its processes.
    Kill,
    /// SIGSTOP to all its processes; SIGCONT once another one is the primary.
    Freeze,
}

#[derive(Parser)]
#[command(
    name = "cargo xtask failover",
    about = "Kills or freezes the primary under writers, and judges what they were told"
)]
struct Args {
    /// How often
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// What happens to the primary; both in turn without it
    #[arg(long)]
    fault: Option<Fault>,
    /// How many write at once
    #[arg(long, default_value_t = 64)]
    writers: usize,
    /// Change the primary by plan so often, one after the other, under an application, in place of faults
    #[arg(long, value_name = "N")]
    switchovers: Option<usize>,
    /// Acknowledge writes that no replica has
    #[arg(long)]
    asynchronous: bool,
}

/// What one run came to.
struct Run {
    fault: Fault,
    /// From the fault to the first acknowledged write elsewhere.
    outage: Duration,
    acknowledged: usize,
    lost: usize,
    /// By the old primary, after another one was there.
    stale: usize,
    timelines: Vec<u32>,
    /// Until all nodes stream from the new primary.
    whole: Option<Duration>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(n) = args.switchovers {
        return switchovers::run(n).await;
    }
    let mut runs = Vec::new();
    println!("run  fault   outage  acknowledged  lost  stale  timelines     whole again");
    for number in 0..args.runs {
        let fault = args.fault.unwrap_or(if number % 2 == 0 { Fault::Kill } else { Fault::Freeze });
        let run = run(&args, fault).await;
        let whole = run.whole.map_or("never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
        println!(
            "{number:>3}  {:<6} {:>5.2} s {:>13} {:>5} {:>6}  {:<12} {whole:>12}",
            format!("{:?}", run.fault),
            run.outage.as_secs_f64(),
            run.acknowledged,
            run.lost,
            run.stale,
            format!("{:?}", run.timelines),
        );
        runs.push(run);
    }
    for fault in [Fault::Kill, Fault::Freeze] {
        let mut outages: Vec<Duration> = runs.iter().filter(|run| run.fault == fault).map(|run| run.outage).collect();
        outages.sort();
        if let (Some(middle), Some(longest)) = (outages.get(outages.len() / 2), outages.last()) {
            println!("{fault:?}: outage {middle:.2?} in the middle, {longest:.2?} at most, of {} runs", outages.len());
        }
    }
    let wrong =
        |run: &Run| (!args.asynchronous && run.lost + run.stale > 0) || run.timelines != [2] || run.whole.is_none();
    let bad = runs.iter().filter(|run| wrong(run)).count();
    println!("{bad} of {} runs broke a promise", runs.len());
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(args: &Args, fault: Fault) -> Run {
    let cluster =
        Arc::new(Cluster::builder().replicas(3).redis(false).start().await.expect("the local cluster starts"));
    let mut supervisor =
        supervisor(&cluster, !args.asynchronous).with_agent(Arc::new(LocalAgent::new(cluster.clone())));
    let supervising = tokio::spawn(async move { supervisor.run().await });
    let writers = Writers::start(&cluster, args.writers).await;
    // It has its votes, and writes wait for replicas, by then.
    sleep(Duration::from_secs(4)).await;
    let old = cluster.primary();
    let began = Instant::now();
    match fault {
        Fault::Kill => old.kill().await.expect("it is killed"),
        Fault::Freeze => old.freeze().await.expect("it is frozen"),
    }
    let frozen = Instant::now();
    while writers.outage(0, frozen).is_none() {
        assert!(began.elapsed() < Duration::from_secs(120), "nobody takes writes");
        sleep(Duration::from_millis(5)).await;
    }
    let outage = writers.outage(0, began).expect("one just came");
    sleep(Duration::from_secs(1)).await;
    let returned = Instant::now();
    if fault == Fault::Freeze {
        // Its agent may be at it already.
        let _ = old.thaw().await;
    }
    let mut whole = None;
    while whole.is_none() && began.elapsed() < Duration::from_secs(90) {
        sleep(Duration::from_millis(100)).await;
        let all = timelines(&cluster).await;
        whole = (all.len() == 1 && all != [0]).then(|| began.elapsed());
    }
    let timelines = timelines(&cluster).await;
    let (acknowledged, stale) = (writers.count(), writers.acknowledged_by(0, returned));
    let stale = if cluster.primary().is_primary().await.unwrap_or(false) { 0 } else { stale };
    let primary = cluster.current_primary().await.expect("a primary");
    let lost = writers.lost(primary).await.len();
    supervising.abort();
    Run { fault, outage, acknowledged, lost, stale, timelines, whole }
}

/// The timelines that the nodes write or receive; 0 for one that does neither.
async fn timelines(cluster: &Cluster) -> Vec<u32> {
    let mut all = Vec::new();
    for node in cluster.nodes() {
        all.push(if node.is_running() { timeline(node).await } else { 0 });
    }
    all.sort_unstable();
    all.dedup();
    all
}
