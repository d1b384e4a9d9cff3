//! R6.2 to R6.4: lag is known as it is, whatever the cause, and replicas may follow replicas.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dbopt_diesel::Db;
use dbopt_diesel::dev::Cluster;
use dbopt_tests::{Things, becomes, calls, config, connect, node, prepared, until};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(20);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Writes to the primary again and again until it is stopped.
struct Writer {
    stop: Arc<AtomicBool>,
    work: JoinHandle<u32>,
}

impl Writer {
    fn start(things: &Things) -> Writer {
        let (stop, things) = (Arc::new(AtomicBool::new(false)), things.clone());
        let told = stop.clone();
        let work = tokio::spawn(async move {
            let mut written = 0;
            while !told.load(Ordering::Relaxed) {
                things.set(1, i64::from(written)).await.unwrap();
                written += 1;
                sleep(Duration::from_millis(20)).await;
            }
            written
        });
        Writer { stop, work }
    }

    async fn stop(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.work.await.unwrap()
    }
}

fn lag(db: &Db, name: &str) -> f64 {
    node(db, name).lag_seconds.unwrap_or(-1.0)
}

/// The lag of a replica that stands still from now on is its age, to an interval; that of the others stays small.
async fn falls_behind_by_the_clock(things: &Things, name: &str, other: &str) {
    let start = Instant::now();
    while start.elapsed() < seconds(4) {
        let most = start.elapsed().as_secs_f64();
        let seen = lag(&things.db, name);
        assert!(seen <= most + 1.0, "{name} is said to be {seen} behind after {most}");
        sleep(Duration::from_millis(50)).await;
    }
    until("its lag is known to an interval", seconds(3), async || {
        lag(&things.db, name) >= start.elapsed().as_secs_f64() - 2.5
    })
    .await;
    assert!(node(&things.db, name).lag_bytes.unwrap() > 0);
    assert!(lag(&things.db, other) < 2.0, "{}", lag(&things.db, other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_2_lag_stays_under_two_seconds_under_normal_load() {
    let cluster = dbopt_tests::cluster(3).await;
    let things = Things { db: connect(config(&cluster)).await };
    let writer = Writer::start(&things);
    let end = Instant::now() + seconds(5);
    let mut most: f64 = 0.0;
    while Instant::now() < end {
        for name in ["replica-1", "replica-2", "replica-3"] {
            let seen = lag(&things.db, name);
            assert!((0.0..2.0).contains(&seen), "{name}: {seen}");
            most = most.max(seen);
        }
        sleep(Duration::from_millis(50)).await;
    }
    println!("{} writes, at most {most} s behind", writer.stop().await);
}

#[tokio::test]
async fn r06_3_an_idle_primary_makes_no_lag() {
    let cluster = dbopt_tests::cluster(3).await;
    let mut config = config(&cluster);
    config.cluster.probe_interval = Duration::from_millis(200);
    let db = connect(config).await;
    let end = Instant::now() + seconds(6);
    while Instant::now() < end {
        for replica in cluster.replicas() {
            assert!(lag(&db, replica.name()) < 1.0, "{:?}", node(&db, replica.name()));
            assert!(node(&db, replica.name()).state.serves());
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(lag(&db, "replica-1"), 0.0);
}

/// Replay that was paused, a receiver that was cut off, and a sender that was frozen while the receiver believes that it streams.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_3_lag_is_right_whatever_the_cause() {
    let builder = Cluster::builder().replicas(3).redis(false).proxied_replication(true);
    let cluster = prepared(builder.setting("wal_receiver_timeout", "60s").setting("wal_sender_timeout", "60s")).await;
    let mut config = config(&cluster);
    config.routing.max_lag = seconds(60);
    config.cluster.probe_interval = Duration::from_millis(500);
    let things = Things { db: connect(config).await };
    let writer = Writer::start(&things);
    let catches_up = async |name: &str| {
        until("it catches up", PATIENCE, async || {
            lag(&things.db, name) == 0.0 && node(&things.db, name).state.serves()
        })
        .await;
    };

    cluster.replica(1).pause_replay().await.unwrap();
    falls_behind_by_the_clock(&things, "replica-1", "replica-2").await;
    let paused = node(&things.db, "replica-1");
    assert_eq!(paused.state.name(), "degraded");
    assert!(paused.cause.as_deref().is_some_and(|cause| cause.contains("pg_wal_replay_resume()")), "{paused:?}");
    cluster.replica(1).resume_replay().await.unwrap();
    catches_up("replica-1").await;

    cluster.replica(1).link().unwrap().cut();
    falls_behind_by_the_clock(&things, "replica-1", "replica-2").await;
    assert_eq!(node(&things.db, "replica-1").state.name(), "disconnected");
    cluster.replica(1).link().unwrap().heal();
    catches_up("replica-1").await;

    let sql = "SELECT pid::text FROM pg_stat_replication WHERE application_name = 'replica-1'";
    let pid: i32 = cluster.primary().query_text(sql).await.unwrap().unwrap().parse().unwrap();
    let walsender = Pid::from_raw(pid).unwrap();
    kill_process(walsender, Signal::STOP).unwrap();
    falls_behind_by_the_clock(&things, "replica-1", "replica-2").await;
    let frozen = serde_json::to_value(node(&things.db, "replica-1")).unwrap();
    assert_eq!(frozen["receiver"], "streaming", "which is why its word is not enough");
    kill_process(walsender, Signal::CONT).unwrap();
    catches_up("replica-1").await;
    writer.stop().await;
}

/// With the settings as they are: over 5 s behind, and no read goes there any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_3_a_replica_over_the_limit_serves_no_reads_until_it_is_well_below() {
    let cluster = dbopt_tests::cluster(3).await;
    let things = Things { db: connect(config(&cluster)).await };
    let writer = Writer::start(&things);
    cluster.replica(2).pause_replay().await.unwrap();
    let start = Instant::now();
    becomes(&things.db, "replica-2", "lagging", seconds(12)).await;
    assert!(start.elapsed() > seconds(4), "{:?}", start.elapsed());
    let lagging = node(&things.db, "replica-2");
    assert!(lagging.cause.as_deref().is_some_and(|cause| cause.contains("reads may be 5s")), "{:?}", lagging.cause);
    let before = calls(&things.db, "read").get("replica-2").copied();
    for _ in 0..100 {
        things.read_port().await.unwrap();
    }
    assert_eq!(calls(&things.db, "read").get("replica-2").copied(), before);
    cluster.replica(2).resume_replay().await.unwrap();
    becomes(&things.db, "replica-2", "healthy", PATIENCE).await;
    assert!(lag(&things.db, "replica-2") <= 2.5);
    writer.stop().await;
}

/// Four replicas, one of which follows another: all serve, and it is known who feeds whom.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_4_four_replicas_serve_and_a_cascading_one_is_understood() {
    let builder = Cluster::builder().replicas(4).cascade(4, 3).redis(false);
    let cluster = prepared(builder).await;
    let mut config = config(&cluster);
    config.cluster.probe_interval = Duration::from_millis(200);
    let things = Things { db: connect(config).await };
    let upstream = |name: &str| node(&things.db, name).upstream.unwrap_or_default();
    for name in ["replica-1", "replica-2", "replica-3", "replica-4"] {
        becomes(&things.db, name, "healthy", PATIENCE).await;
        let feeder = if name == "replica-4" { "replica-3" } else { "primary" };
        until("its feeder is known", PATIENCE, async || upstream(name) == feeder).await;
    }
    for _ in 0..40 {
        things.read_port().await.unwrap();
    }
    assert_eq!(calls(&things.db, "read").keys().filter(|name| name.starts_with("replica")).count(), 4);
    // The one in the middle freezes: the last one shows no fault of its own but its lag.
    let writer = Writer::start(&things);
    cluster.replica(3).kill().await.unwrap();
    becomes(&things.db, "replica-4", "disconnected", PATIENCE).await;
    // It notices at once that nobody feeds it; that its feeder is gone, is believed after several failures.
    until("its cause is the feeder", PATIENCE, async || {
        let cause = node(&things.db, "replica-4").cause;
        cause.is_some_and(|cause| cause.contains("not streaming from `replica-3`, which does not answer"))
    })
    .await;
    assert_eq!(upstream("replica-4"), "replica-3", "it is remembered");
    writer.stop().await;
    cluster.replica(3).start().await.unwrap();
    becomes(&things.db, "replica-3", "healthy", seconds(15)).await;
    becomes(&things.db, "replica-4", "healthy", seconds(15)).await;
}

/// The replica in the middle receives nothing more: the one behind it streams, and lags all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_4_a_replica_behind_one_that_is_cut_off_lags_with_it() {
    let builder = Cluster::builder().replicas(3).cascade(3, 2).redis(false).proxied_replication(true);
    let cluster = prepared(builder).await;
    let mut config = config(&cluster);
    config.cluster.probe_interval = Duration::from_millis(200);
    config.routing.max_lag = seconds(2);
    let things = Things { db: connect(config).await };
    let writer = Writer::start(&things);
    cluster.replica(2).link().unwrap().cut();
    becomes(&things.db, "replica-2", "disconnected", PATIENCE).await;
    becomes(&things.db, "replica-3", "lagging", PATIENCE).await;
    let last = serde_json::to_value(node(&things.db, "replica-3")).unwrap();
    assert_eq!(last["receiver"], "streaming");
    let before = calls(&things.db, "read").get("replica-3").copied();
    for _ in 0..50 {
        things.read_port().await.unwrap();
    }
    assert_eq!(calls(&things.db, "read").get("replica-3").copied(), before);
    cluster.replica(2).link().unwrap().heal();
    becomes(&things.db, "replica-2", "healthy", PATIENCE).await;
    becomes(&things.db, "replica-3", "healthy", PATIENCE).await;
    writer.stop().await;
}
