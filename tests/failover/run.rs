//! One fault, and all that was seen of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dbopt_diesel::core::position::{Lsn, Position};
use dbopt_diesel::dev::{Cluster, LocalAgent, Node};
use dbopt_diesel::supervise::{Failover, Supervisor};
use dbopt_tests::outage::metrics;
use dbopt_tests::plain_writers::Writers;
use dbopt_tests::supervised::{supervisor_with, timeline};
use dbopt_tests::{config, connect, until};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::application::{Application, SCHEMA, Served};
use super::verdict::Run;
use super::{Args, Fault};

const SECOND: Duration = Duration::from_secs(1);
/// Nothing here may take longer.
const PATIENCE: Duration = Duration::from_secs(120);
/// For how long replicas had received nothing at the fault, where writes do not wait for them.
const BEHIND: Duration = Duration::from_millis(300);

pub(super) async fn run(args: &Args, fault: Fault) -> Run {
    let cluster = Arc::new(prepared(args).await);
    let coordinator = Coordinator::begin(
        supervisor_with(&cluster, |config| {
            config.supervise.synchronous = !args.asynchronous;
            config.supervise.interval = args.checks;
            // A hand is quicker than the agent.
            config.supervise.rejoin_after = Duration::from_secs(if fault == Fault::Restart { 20 } else { 3 });
        })
        .with_agent(Arc::new(LocalAgent::new(cluster.clone()))),
    );
    let settings = || {
        let mut settings = config(&cluster);
        settings.cluster.probe_interval = args.checks;
        settings
    };
    let mut application = Application::start(connect(settings()).await, 0);
    let writers = Writers::start(&cluster, args.writers).await;
    let old = cluster.primary();
    if !args.asynchronous {
        until("writes wait for replicas", PATIENCE, async || {
            let value = old.query_text("SHOW synchronous_standby_names").await.ok().flatten();
            value.is_some_and(|value| value.starts_with("ANY"))
        })
        .await;
    }
    // At any moment between two checks.
    sleep(3 * SECOND + args.checks.mul_f64(fastrand::f64())).await;
    let links = || cluster.replicas().iter().filter_map(Node::link);
    if args.asynchronous {
        links().for_each(|link| link.cut());
        sleep(BEHIND).await;
    }
    let clock = number(old, "SELECT extract(epoch FROM clock_timestamp())::text").await.expect("its clock");
    let mut run = Run::default();
    let began = Instant::now();
    match fault {
        Fault::Kill | Fault::Restart => old.kill().await.expect("it is killed"),
        Fault::Freeze => old.freeze().await.expect("it is frozen"),
    }
    let faulty = Instant::now();
    until("writers and the application have another primary", PATIENCE, async || {
        writers.outage(0, faulty).is_some() && application.primary().is_some_and(|name| name != old.name())
    })
    .await;
    run.outage = writers.outage(0, began).expect("one just came");
    links().for_each(|link| link.heal());
    sleep(SECOND).await;
    let known = Instant::now();
    run.connections = application.connections(old.name());
    let mut late = None;
    match fault {
        Fault::Kill => {}
        // Its agent may be at it already.
        Fault::Freeze => drop(old.thaw().await),
        Fault::Restart => {
            old.start().await.expect("it starts as it was");
            late = Some(Application::start(connect(settings()).await, 1 << 40));
        }
    }
    if fault == Fault::Freeze {
        run.sessions = sessions_before(old, clock).await;
    }
    while run.whole.is_none() && began.elapsed() < PATIENCE {
        sleep(Duration::from_millis(100)).await;
        if run.back.is_none() && old.is_running() && timeline(old).await == 2 && !old.is_primary().await.unwrap_or(true)
        {
            run.back = Some(began.elapsed());
        }
        run.timelines = timelines(&cluster).await;
        run.whole = (run.timelines == [2]).then(|| began.elapsed());
    }
    // Between two looks it may have been the last one.
    run.back = run.back.or(run.whole);
    sleep(SECOND).await;
    let primary = cluster.current_primary().await.expect("a primary");
    (run.stale, run.acknowledged) = (writers.acknowledged_by(0, known), writers.count());
    run.lost[0] = writers.lost(primary).await.len();
    let (mut calls, failed) = application.stop().await;
    run.failed = failed.len();
    if let Some(mut late) = late {
        let (its, failed) = late.stop().await;
        calls.extend(its);
        run.failed += failed.len();
    }
    run.acknowledged += calls.iter().filter(|call| call.wrote.is_some()).count();
    blame(&mut run, &calls, i32::from(old.port()), known, clock);
    (run.lost[1], run.lost_log) = lost(primary, &calls).await;
    run.reported = application.db.status().failovers.lost_bytes;
    let scraped = metrics(&application.db).await;
    let known = scraped.has("dbopt_failover_lost_bytes", &[]);
    run.metric = known.then(|| scraped.sum("dbopt_failover_lost_bytes", &[]) as u64);
    run.coordinator = coordinator.end().await.last().map(|failover| failover.lost_bytes);
    run
}

/// With as much in it as was asked for.
async fn prepared(args: &Args) -> Cluster {
    let builder = Cluster::builder().replicas(3).redis(false).proxied_replication(args.asynchronous);
    let cluster = builder.start().await.expect("the local cluster starts");
    cluster.primary().execute(SCHEMA).await.expect("the table is made");
    if args.size > 0 {
        let fill = format!(
            "CREATE TABLE ballast (id int PRIMARY KEY, text text); ALTER TABLE ballast ALTER text SET STORAGE EXTERNAL; \
             INSERT INTO ballast SELECT n, repeat(md5(n::text), 240) FROM generate_series(1, {}) AS n",
            args.size * 128
        );
        cluster.primary().execute(&fill).await.expect("it is filled");
    }
    cluster.wait_caught_up(PATIENCE).await.expect("the replicas follow");
    cluster
}

/// What the old primary served, and what ran on sessions of the old epoch.
fn blame(run: &mut Run, calls: &[Served], old: i32, known: Instant, clock: f64) {
    let since = || calls.iter().filter(|call| call.at > known && !call.by.replica);
    run.by_the_old_one = since().filter(|call| call.by.port == old).count();
    run.on_old_sessions = since().filter(|call| call.wrote.is_some() && call.by.session < clock).count();
}

/// How many acknowledged writes of the application the primary lacks, and how far they reach into the log that was lost.
async fn lost(primary: &Node, calls: &[Served]) -> (usize, u64) {
    let text = primary.query_text("SELECT string_agg(id::text, ',') FROM calls").await.expect("the calls");
    let there: BTreeSet<i64> = text.unwrap_or_default().split(',').filter_map(|id| id.parse().ok()).collect();
    let fork = "SELECT split_part(pg_read_file('pg_wal/00000002.history'), E'\t', 2)";
    let fork = primary.query_text(fork).await.ok().flatten().and_then(|text| text.parse::<Lsn>().ok());
    let gone: Vec<Option<Position>> =
        calls.iter().filter_map(|call| call.wrote).filter(|(id, _)| !there.contains(id)).map(|(_, at)| at).collect();
    let furthest = gone.iter().flatten().map(|position| position.lsn).max();
    (gone.len(), furthest.zip(fork).map_or(0, |(furthest, fork)| furthest.bytes_since(fork)))
}

/// The sessions of the application's pools that this server still has from before `clock`, half a second after it woke up: it notices
/// closed ones as it goes on.
async fn sessions_before(node: &Node, clock: f64) -> usize {
    sleep(SECOND / 2).await;
    let sql = format!(
        "SELECT count(*)::text FROM pg_stat_activity WHERE application_name IN ('dbopt read', 'dbopt write', 'dbopt critical') \
         AND backend_start < to_timestamp({clock})"
    );
    // Its agent may have stopped it by now: then there are none.
    number(node, &sql).await.unwrap_or(0.0) as usize
}

async fn number(node: &Node, sql: &str) -> Option<f64> {
    node.query_text(sql).await.ok().flatten().and_then(|text| text.parse().ok())
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

/// A coordinator at work that can be asked afterwards.
struct Coordinator {
    end: oneshot::Sender<()>,
    work: JoinHandle<Vec<Failover>>,
}

impl Coordinator {
    fn begin(mut supervisor: Supervisor) -> Coordinator {
        let (end, ended) = oneshot::channel();
        let work = tokio::spawn(async move {
            tokio::select! { () = supervisor.run() => {}, _ = ended => {} }
            supervisor.failovers().to_vec()
        });
        Coordinator { end, work }
    }

    /// The failovers that it made.
    async fn end(self) -> Vec<Failover> {
        drop(self.end);
        self.work.await.expect("it does not panic")
    }
}
