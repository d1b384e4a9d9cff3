//! R11 on real servers: who waits for another attempt and who does not, deadlines, and what became of a COMMIT.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use dbopt_diesel::{Error, ErrorKind};
use dbopt_tests::outage::{brisk, metrics};
use dbopt_tests::{Things, cached_config, cluster, cluster_with_redis, config, connect, prepared, shelf, until};
use diesel::QueryResult;
use diesel_async::SimpleAsyncConnection;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

/// dbopt's own error inside a method's.
fn kind(error: &diesel::result::Error) -> ErrorKind {
    Error::of(error).unwrap_or_else(|| panic!("not dbopt's: {error}")).kind().clone()
}

/// A restart of the primary: the write comes late, and comes.
#[tokio::test]
async fn r11_1_a_write_waits_for_the_primary_to_come_back() {
    let cluster = cluster(0).await;
    let things = Things { db: connect(config(&cluster)).await };
    things.set(1, 1).await.unwrap();
    cluster.primary().kill().await.unwrap();
    let began = Instant::now();
    let call = tokio::spawn({
        let things = things.clone();
        async move { things.set(1, 2).await }
    });
    sleep(Duration::from_millis(1500)).await;
    cluster.primary().start().await.unwrap();
    call.await.unwrap().expect("it is served");
    println!("after {:?}", began.elapsed());
    assert_eq!(things.value(1).await.unwrap(), Some(2));
    let metrics = metrics(&things.db).await;
    assert!(metrics.sum("dbopt_retries_total", &[("what", "connect")]) >= 1.0);
}

#[tokio::test]
async fn r11_1_three_retries_with_growing_waits_and_then_the_cause() {
    let cluster = prepared(Cluster::builder().replicas(0).redis(false).proxied(true)).await;
    let mut config = config(&cluster);
    config.retry.initial = Duration::from_millis(400);
    (config.pool.backoff_initial, config.pool.backoff_max) = (Duration::from_millis(20), Duration::from_millis(40));
    config.breaker.enabled = false;
    let things = Things { db: connect(config).await };
    cluster.primary().kill().await.unwrap();
    let began = Instant::now();
    let error = kind(&things.set(1, 2).await.unwrap_err());
    // Half to all of 0.4, 0.8 and 1.6 s.
    let took = began.elapsed().as_secs_f64();
    assert!((1.4..3.3).contains(&took), "{took}");
    assert!(matches!(error, ErrorKind::Unavailable { .. }) && error.is_retryable(), "{error}");
    assert!(error.to_string().contains("primary"), "{error}");
    assert_eq!(metrics(&things.db).await.sum("dbopt_retries_total", &[("what", "connect")]), 3.0);
}

#[tokio::test]
async fn r11_1_a_read_goes_to_another_node_instead_of_waiting() {
    let cluster = cluster(1).await;
    let things = Things { db: connect(config(&cluster)).await };
    for node in [cluster.replica(1), cluster.primary()] {
        node.kill().await.unwrap();
        for _ in 0..50 {
            let began = Instant::now();
            things.read_port().await.expect("the other node serves it");
            assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
        }
        node.start().await.unwrap();
        let healthy =
            async || things.db.status().nodes.iter().all(|n| serde_json::to_value(n.state).unwrap() == "healthy");
        until("it is back", Duration::from_secs(10), healthy).await;
    }
    assert_eq!(metrics(&things.db).await.sum("dbopt_retries_total", &[("what", "connect")]), 0.0);
}

/// Nobody waits for an attempt that would come too late, or for one that cannot help.
#[tokio::test]
async fn r11_1_who_has_no_time_or_no_password_is_told_at_once() {
    let cluster = cluster(0).await;
    let things = Things { db: connect(config(&cluster)).await };
    cluster.primary().execute("CREATE ROLE mistaken LOGIN; ALTER ROLE mistaken NOLOGIN").await.unwrap();
    cluster.primary().kill().await.unwrap();
    let until = Instant::now() + Duration::from_millis(300);
    let began = Instant::now();
    Context::anonymous().with_deadline(until).scope(things.set(1, 2)).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
}

/// As many callers as there may be: retries are a small share of them.
#[tokio::test]
async fn retries_never_exceed_their_budget() {
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    (config.retry.budget, config.retry.floor, config.retry.attempts) = (0.0, 5, 1);
    let things = Things { db: connect(config).await };
    cluster.primary().kill().await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..200 {
        let things = things.clone();
        calls.spawn(async move { things.set(1, 2).await });
    }
    assert!(calls.join_all().await.iter().all(Result::is_err));
    let metrics = metrics(&things.db).await;
    let made = metrics.sum("dbopt_retries_total", &[]);
    assert!((1.0..=15.0).contains(&made), "{made}");
    assert!(metrics.sum("dbopt_retry_budget_exhausted_total", &[]) >= 185.0);
}

/// Wherever a call waits, its deadline ends it: in the queue, in its body, at COMMIT.
#[tokio::test]
async fn a_deadline_bounds_the_whole_path() {
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    (config.pool.min, config.pool.max) = (3, 3);
    let things = Things { db: connect(config).await };
    let limit = Duration::from_millis(400);
    let bounded = async |what: &str, call: JoinHandle<QueryResult<usize>>| {
        let began = Instant::now();
        let error = call.await.unwrap().unwrap_err().to_string();
        println!("{what}: {error}");
        assert!(began.elapsed() < limit + Duration::from_millis(400), "{what}: {:?}", began.elapsed());
        error
    };
    let spawn = |seconds: f64| {
        let (things, context) = (things.clone(), Context::anonymous().with_deadline(Instant::now() + limit));
        tokio::spawn(context.scope(async move { things.slow_write(seconds).await }))
    };
    let error = bounded("body", spawn(10.0)).await;
    assert!(error.contains("running its statements"), "{error}");
    let holder = tokio::spawn({
        let things = things.clone();
        async move { things.slow_write(2.0).await }
    });
    until("it runs", Duration::from_secs(3), async || things.db.status().connections.in_use == 1).await;
    let error = bounded("queue", spawn(0.0)).await;
    assert!(error.contains("connection"), "{error}");
    holder.await.unwrap().unwrap();
    cluster.primary().set("synchronous_standby_names", "nobody").await.unwrap();
    let writing = {
        let (things, context) = (things.clone(), Context::anonymous().with_deadline(Instant::now() + limit));
        tokio::spawn(context.scope(async move { things.set(1, 1).await }))
    };
    let error = bounded("commit", writing).await;
    assert!(error.contains("not known whether the write happened"), "{error}");
}

/// The frozen primary holds a lease of the loop that looks after the outbox no longer than a call may take.
#[tokio::test]
async fn a_frozen_primary_does_not_hold_the_outbox() {
    let cluster = cluster_with_redis(1).await;
    let mut config = cached_config(&cluster);
    config.cache.outbox = true;
    config.call.timeout = Duration::from_secs(1);
    (config.pool.connect_timeout, config.cluster.probe_misses) = (Duration::from_millis(500), 1000);
    let shelf = shelf(config).await;
    sleep(Duration::from_millis(500)).await;
    cluster.primary().freeze().await.unwrap();
    let writing = || {
        let status = shelf.db.status();
        let pools = &status.nodes.iter().find(|node| &*node.name == "primary").unwrap().pools;
        pools.iter().find(|pool| pool.lane == "write").map_or(0, |pool| pool.in_use)
    };
    until("it has begun", Duration::from_secs(2), async || writing() == 1).await;
    until("it gives up", Duration::from_secs(4), async || writing() == 0).await;
    cluster.primary().thaw().await.unwrap();
}

/// A write whose COMMIT waits on the server for a standby that does not exist, until `interrupt`.
async fn interrupted(
    resolve: bool,
    interrupt: impl AsyncFnOnce(&Cluster, i32),
) -> (Cluster, Things, QueryResult<usize>) {
    let cluster = prepared(Cluster::builder().replicas(0).redis(false).durable(true)).await;
    let mut config = config(&cluster);
    config.call.resolve_outcome = resolve;
    config.call.timeout = Duration::from_secs(20);
    let things = Things { db: connect(config).await };
    things.set(1, 1).await.unwrap();
    cluster.primary().set("synchronous_standby_names", "nobody").await.unwrap();
    let call = tokio::spawn({
        let things = things.clone();
        async move { Context::user("ann").scope(things.set(1, 2)).await }
    });
    let waits = "SELECT pid::text FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let mut pid = 0;
    until("it waits in COMMIT", Duration::from_secs(5), async || {
        let found = cluster.primary().query_text(waits).await.unwrap();
        pid = found.and_then(|text| text.parse().ok()).unwrap_or_default();
        pid > 0
    })
    .await;
    interrupt(&cluster, pid).await;
    let ended = call.await.unwrap();
    (cluster, things, ended)
}

#[tokio::test]
async fn a_commit_whose_connection_is_lost_is_found_out() {
    let terminate = async |cluster: &Cluster, pid: i32| {
        cluster.primary().execute(&format!("SELECT pg_terminate_backend({pid})")).await.unwrap();
    };
    let (_cluster, things, ended) = interrupted(true, terminate).await;
    println!("{ended:?}");
    ended.expect("it was committed, and that is found out");
    assert_eq!(things.value(1).await.unwrap(), Some(2));

    let (_cluster, things, ended) = interrupted(false, terminate).await;
    let error = kind(&ended.unwrap_err());
    assert!(matches!(error, ErrorKind::OutcomeUnknown { .. }), "{error}");
    assert_eq!(things.value(1).await.unwrap(), Some(2));
}

/// After a crash a number may have been given to another transaction: what is said of it proves nothing.
#[tokio::test]
async fn after_a_crash_a_committed_number_proves_nothing() {
    let kill_server = async |cluster: &Cluster, _: i32| {
        cluster.primary().kill().await.unwrap();
        cluster.primary().start().await.unwrap();
    };
    let kill_session = async |_: &Cluster, pid: i32| {
        assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    };
    let (_cluster, _things, ended) = interrupted(true, kill_server).await;
    assert!(matches!(kind(&ended.unwrap_err()), ErrorKind::OutcomeUnknown { .. }));
    // The postmaster survives it, and recovers.
    let (_cluster, _things, ended) = interrupted(true, kill_session).await;
    assert!(matches!(kind(&ended.unwrap_err()), ErrorKind::OutcomeUnknown { .. }));
}

#[derive(Clone)]
struct Torn {
    db: Db,
    cluster: Arc<Cluster>,
}

#[repository]
impl Torn {
    /// Its COMMIT never reaches the server.
    #[write]
    async fn loses_its_commit(&self, conn: &mut Conn) -> QueryResult<()> {
        conn.batch_execute("UPDATE things SET value = 9 WHERE id = 1").await?;
        self.cluster.primary().proxy().unwrap().blackhole();
        Ok(())
    }
}

#[tokio::test]
async fn a_commit_that_never_arrived_says_that_nothing_was_written() {
    for resolve in [true, false] {
        let cluster = Arc::new(prepared(Cluster::builder().replicas(0).redis(false).proxied(true)).await);
        let mut config = brisk(config(&cluster));
        config.call.resolve_outcome = resolve;
        config.call.timeout = Duration::from_secs(20);
        config.cluster.probe_misses = 1000;
        let db = connect(config).await;
        let things = Things { db: db.clone() };
        things.set(1, 1).await.unwrap();
        let torn = Torn { db, cluster: cluster.clone() };
        let call = tokio::spawn(async move { torn.loses_its_commit().await });
        sleep(Duration::from_millis(700)).await;
        cluster.primary().proxy().unwrap().heal();
        let error = kind(&call.await.unwrap().unwrap_err());
        println!("{error}");
        if resolve {
            assert!(matches!(error, ErrorKind::Unavailable { .. }) && error.is_retryable(), "{error}");
            assert!(error.to_string().contains("nothing was committed"), "{error}");
        } else {
            assert!(matches!(error, ErrorKind::OutcomeUnknown { .. }) && !error.is_retryable(), "{error}");
        }
        until("it is there again", Duration::from_secs(10), async || things.value(1).await == Ok(Some(1))).await;
    }
}
