//! R11 on real servers: circuits open for the right reasons, refuse at once, are tested once, and never get stuck.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dbopt_diesel::core::breaker::State;
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use dbopt_tests::log::Log;
use dbopt_tests::outage::{app_config, brisk, end_sessions, fill, make_app, metrics, open_circuit};
use dbopt_tests::{Things, cluster, config, connect, prepared, until};
use diesel::QueryResult;
use diesel_async::SimpleAsyncConnection;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// A server behind a proxy whose application may not log in any more, with writes that have no session left.
///
/// Also how many connections it had accepted before.
async fn locked_out(change: impl FnOnce(&mut dbopt_diesel::Config)) -> (Cluster, Things, u64) {
    let cluster = prepared(Cluster::builder().replicas(0).redis(false).proxied(true)).await;
    make_app(&cluster).await;
    let mut config = app_config(&cluster);
    change(&mut config);
    let things = Things { db: connect(config).await };
    things.set(1, 1).await.unwrap();
    things.read_port().await.unwrap();
    things.critical_port().await.unwrap();
    let before = accepted(&cluster);
    cluster.primary().execute("ALTER ROLE app NOLOGIN").await.unwrap();
    end_sessions(&cluster, "dbopt write").await;
    (cluster, things, before)
}

async fn until_open(things: &Things) {
    let opened = async || {
        let refused = things.set(1, 2).await.unwrap_err().to_string();
        refused.contains("circuit is open")
    };
    until("the circuit opens", Duration::from_secs(10), opened).await;
}

fn accepted(cluster: &Cluster) -> u64 {
    cluster.primary().proxy().unwrap().accepted()
}

#[tokio::test]
async fn r11_2_failing_connections_open_the_circuit_of_their_lane_and_no_other() {
    let (log, _guard) = Log::keep();
    let (cluster, things, before) = locked_out(|config| config.breaker.open = Duration::from_secs(4)).await;
    until_open(&things).await;
    let attempts = accepted(&cluster) - before;
    assert!((1..=5).contains(&attempts), "five failures; sessions that calls have lost are some of them: {attempts}");
    let circuit = open_circuit(&things.db, "primary", "write").expect("it is in the status");
    assert_eq!(circuit.state, State::Open);
    let cause = circuit.cause.expect("the last cause");
    assert!(cause.contains("not permitted to log in") && cause.contains("28000"), "{cause}");
    assert!(circuit.test_in_seconds.is_some_and(|s| s > 0.0 && s < 4.5), "{:?}", circuit.test_in_seconds);
    let json = serde_json::to_value(things.db.status()).unwrap();
    assert_eq!(json["open_circuits"][0]["state"], "open");
    let metrics = metrics(&things.db).await;
    let write = [("node", "primary"), ("lane", "write")];
    assert_eq!(metrics.sum("dbopt_circuit_state", &write), 1.0);
    assert_eq!(metrics.sum("dbopt_circuit_state", &[("lane", "read")]), 0.0);
    assert_eq!(metrics.sum("dbopt_circuit_transitions_total", &[("from", "closed"), ("to", "open")]), 1.0);
    assert!(metrics.sum("dbopt_circuit_refused_total", &write) >= 1.0);
    let told = log.with("circuit opened");
    assert!(told.len() == 1 && told[0].contains("lane=write") && told[0].contains("log in"), "{told:?}");
    things.read_port().await.expect("reads have a circuit of their own");
    things.critical_port().await.expect("critical calls too");
}

#[tokio::test]
async fn r11_3_an_open_circuit_refuses_at_once_and_asks_nobody() {
    let (cluster, things, _) = locked_out(|config| config.breaker.open = Duration::from_secs(4)).await;
    until_open(&things).await;
    let (before, began) = (accepted(&cluster), Instant::now());
    for _ in 0..1000 {
        let error = dbopt_diesel::Error::of(&things.set(1, 2).await.unwrap_err()).cloned().expect("it is dbopt's");
        assert!(error.is_retryable() && error.retry_after().is_some_and(|wait| wait <= Duration::from_secs(5)));
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "less than a millisecond each: {took:?}");
    assert_eq!(accepted(&cluster), before);
}

/// Callers as many as there may be, all at once; gives how many were served.
async fn thousand(things: &Things) -> usize {
    let mut calls = JoinSet::new();
    for _ in 0..1000 {
        let things = things.clone();
        calls.spawn(async move { things.set(1, 3).await });
    }
    let ended = calls.join_all().await;
    if let Some(odd) = ended.iter().filter_map(|end| end.as_ref().err()).find(|e| !e.to_string().contains("circuit")) {
        println!("{odd}");
    }
    ended.iter().filter(|end| end.is_ok()).count()
}

#[tokio::test]
async fn r11_4_when_its_time_is_over_a_thousand_callers_make_one_test_connection() {
    let (cluster, things, _) = locked_out(|_| ()).await;
    until_open(&things).await;
    // So late that all of them come before its result is known.
    cluster.primary().proxy().unwrap().delay(Duration::from_millis(100));
    let (before, began) = (accepted(&cluster), Instant::now());
    let wait = open_circuit(&things.db, "primary", "write").unwrap().test_in_seconds.unwrap();
    while accepted(&cluster) == before {
        assert_eq!(thousand(&things).await, 0);
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    assert!(began.elapsed().as_secs_f64() > wait - 0.1, "not before its time");
    until("its result is known", Duration::from_secs(3), async || {
        open_circuit(&things.db, "primary", "write").is_some_and(|circuit| circuit.state == State::Open)
    })
    .await;
    assert_eq!(thousand(&things).await, 0);
    assert_eq!(accepted(&cluster) - before, 1);
    let wait = open_circuit(&things.db, "primary", "write").unwrap().test_in_seconds.unwrap();
    assert!(wait > 1.2, "it failed, so the next one is later: {wait}");
}

#[tokio::test]
async fn r11_5_a_test_connection_that_succeeds_closes_the_circuit() {
    let (cluster, things, _) = locked_out(|_| ()).await;
    until_open(&things).await;
    cluster.primary().execute("ALTER ROLE app LOGIN").await.unwrap();
    let before = accepted(&cluster);
    let began = Instant::now();
    until("writes are served", Duration::from_secs(5), async || things.set(1, 3).await.is_ok()).await;
    assert!(began.elapsed() > Duration::from_millis(500), "not before the test: {:?}", began.elapsed());
    assert_eq!(open_circuit(&things.db, "primary", "write").map(|circuit| circuit.state), None);
    assert_eq!(accepted(&cluster) - before, 1);
    let metrics = metrics(&things.db).await;
    assert!(metrics.sum("dbopt_circuit_transitions_total", &[("from", "half_open"), ("to", "closed")]) >= 1.0);
    for _ in 0..20 {
        things.set(1, 3).await.expect("all are served");
    }
}

#[derive(Clone)]
struct Mistakes {
    db: Db,
}

#[repository]
impl Mistakes {
    #[read]
    async fn divides_by_zero(&self, conn: &mut Conn) -> QueryResult<()> {
        conn.batch_execute("SELECT 1 / 0").await
    }

    #[read]
    async fn is_not_sql(&self, conn: &mut Conn) -> QueryResult<()> {
        conn.batch_execute("SELEKT").await
    }

    #[read]
    async fn is_cancelled(&self, conn: &mut Conn) -> QueryResult<()> {
        conn.batch_execute("SET statement_timeout = '5ms'; SELECT pg_sleep(1)").await
    }

    #[write]
    async fn exists_already(&self, conn: &mut Conn) -> QueryResult<()> {
        conn.batch_execute("INSERT INTO things VALUES (7, 7)").await
    }

    #[write]
    async fn idles_for_too_long(&self, conn: &mut Conn) -> QueryResult<()> {
        conn.batch_execute("SET LOCAL idle_in_transaction_session_timeout = '5ms'").await?;
        sleep(Duration::from_millis(50)).await;
        conn.batch_execute("SELECT 1").await
    }
}

#[tokio::test]
async fn r11_2_what_the_application_does_wrong_never_opens_a_circuit() {
    let cluster = cluster(1).await;
    let db = connect(brisk(config(&cluster))).await;
    let (things, mistakes) = (Things { db: db.clone() }, Mistakes { db: db.clone() });
    things.set(7, 7).await.unwrap();
    for _ in 0..50 {
        mistakes.divides_by_zero().await.unwrap_err();
        mistakes.is_not_sql().await.unwrap_err();
        mistakes.exists_already().await.unwrap_err();
    }
    for _ in 0..8 {
        mistakes.is_cancelled().await.unwrap_err();
        mistakes.idles_for_too_long().await.unwrap_err();
        // Callers who go away are nobody's failure either.
        drop(tokio::time::timeout(Duration::from_millis(5), things.slow_read(1.0)).await);
    }
    let status = db.status();
    assert!(status.open_circuits.is_empty(), "{:?}", status.open_circuits);
    let metrics = metrics(&db).await;
    assert_eq!(metrics.sum("dbopt_circuit_transitions_total", &[]), 0.0);
}

/// With and without the user's own rule.
#[tokio::test]
async fn r11_2_a_full_server_opens_it_unless_the_user_says_otherwise() {
    let cluster = prepared(Cluster::builder().replicas(0).redis(false).setting("max_connections", "20")).await;
    for ignored in [false, true] {
        let mut config = brisk(config(&cluster));
        // One session, for reads.
        config.pool.min = 1;
        if ignored {
            config.breaker.ignore = vec!["53300".into()];
        }
        let db = connect(config).await;
        let things = Things { db: db.clone() };
        let others = fill(&cluster).await;
        for _ in 0..40 {
            things.set(1, 1).await.unwrap_err();
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(open_circuit(&db, "primary", "write").is_none(), ignored, "{:?}", db.status().open_circuits);
        things.read_port().await.expect("reads have their session");
        drop((others, db));
    }
}

/// An administrator ends all sessions of a lane, again and again: connecting works, so nothing is wrong with the node.
#[tokio::test]
async fn sessions_that_are_ended_together_open_nothing() {
    let cluster = cluster(0).await;
    let things = Things { db: connect(brisk(config(&cluster))).await };
    let mut calls = JoinSet::new();
    for _ in 0..3 {
        let things = things.clone();
        calls.spawn(async move { things.slow_write(5.0).await });
    }
    until("they run", Duration::from_secs(2), async || things.db.status().connections.in_use == 3).await;
    end_sessions(&cluster, "dbopt write").await;
    assert!(calls.join_all().await.iter().all(Result::is_err));
    for _ in 0..20 {
        things.set(1, 1).await.expect("the lane goes on");
    }
    assert!(things.db.status().open_circuits.is_empty());
}

/// A replica goes down and up again and again under readers. Nobody sees an error; after its last return it is in use at once, however long the
/// circuit would have been open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r11_5_flapping_does_not_lock_a_node_out() {
    let cluster = cluster(2).await;
    // Circuits with their usual times: half a minute, and more each time.
    let mut config = config(&cluster);
    // Circuits alone decide here: the monitor believes the first answer.
    (config.cluster.hold_down, config.cluster.hold_down_max) = (Duration::ZERO, Duration::ZERO);
    config.cluster.probe_window = config.cluster.probe_misses;
    let things = Things { db: connect(config).await };
    let stop = Arc::new(AtomicBool::new(false));
    let errors = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..16)
        .map(|_| {
            let (things, stop, errors) = (things.clone(), stop.clone(), errors.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = things.slow_read(0.002).await {
                        println!("{error}");
                        errors.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    sleep(Duration::from_millis(500)).await;
    for _ in 0..3 {
        cluster.replica(1).kill().await.unwrap();
        sleep(Duration::from_millis(300)).await;
        cluster.replica(1).start().await.unwrap();
    }
    let calls = || dbopt_tests::calls(&things.db, "read").get("replica-1").copied().unwrap_or_default();
    let before = calls();
    until("it serves again", Duration::from_secs(5), async || calls() > before + 20).await;
    assert!(open_circuit(&things.db, "replica-1", "read").is_none());
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(errors.load(Ordering::Relaxed), 0);
}

/// A proxy, or a firewall, that resets everything: reads go on elsewhere, and come back with it.
#[tokio::test]
async fn connections_that_are_reset_open_the_circuit_and_reads_go_elsewhere() {
    let cluster = prepared(Cluster::builder().replicas(1).redis(false).proxied(true)).await;
    let mut config = brisk(config(&cluster));
    // The monitor shall not be the first to know.
    (config.cluster.probe_misses, config.cluster.probe_interval) = (1, Duration::from_secs(10));
    config.breaker.open = Duration::from_secs(4);
    let things = Things { db: connect(config).await };
    let replica = cluster.replica(1).port() as i32;
    assert_eq!(things.read_port().await.unwrap(), replica);
    cluster.replica(1).proxy().unwrap().reset();
    for _ in 0..200 {
        assert_ne!(things.read_port().await.expect("the primary serves it"), replica);
    }
    cluster.replica(1).proxy().unwrap().heal();
    until("it serves again", Duration::from_secs(15), async || things.read_port().await.unwrap() == replica).await;
    assert!(things.db.status().open_circuits.is_empty());
}
