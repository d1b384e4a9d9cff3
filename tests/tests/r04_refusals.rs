//! R4 on real servers: why there is no connection is told at once, and nothing waits for itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use dbopt_diesel::dev::Cluster;
use dbopt_diesel::{Db, Error, ErrorKind, independent};
use dbopt_tests::log::Log;
use dbopt_tests::outage::fill;
use dbopt_tests::{Things, cluster, config, connect, named, prepared, until};
use diesel::QueryResult;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

/// The error of an attempt to begin with `url`, which must not take long nor show the password.
async fn refusal(url: String) -> String {
    let began = Instant::now();
    let error = Db::connect(named([("only", url)])).await.expect_err("nobody gets in");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let text = format!("{error} {error:?}");
    assert!(!text.contains("wrong-sentinel"), "{text}");
    error.to_string()
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} in: {text}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_with_what_to_do() {
    let cluster = Cluster::builder().replicas(0).redis(false).password("right").start().await.unwrap();
    let url = cluster.primary().url().replace("right", "wrong-sentinel");
    says(&refusal(url).await, &["only", "password authentication failed", "check the user and password in the URL"]);
}

#[tokio::test]
async fn an_unknown_database_and_a_port_without_server_are_told_with_what_to_do() {
    let cluster = cluster(0).await;
    let url = cluster.primary().url_for("nowhere");
    says(&refusal(url).await, &["\"nowhere\" does not exist", "check the database name in the URL"]);
    cluster.primary().kill().await.unwrap();
    says(&refusal(cluster.primary().url()).await, &["only", "refused"]);
}

#[tokio::test]
async fn a_full_server_is_told_with_what_to_do_and_serves_what_it_has() {
    let cluster = prepared(Cluster::builder().replicas(0).redis(false).setting("max_connections", "12")).await;
    let mut config = config(&cluster);
    (config.pool.min, config.pool.acquire_timeout) = (1, Duration::from_secs(1));
    // A call that waits until the server has room again is in r11.
    (config.retry.attempts, config.failover.wait_limit) = (0, 0);
    let db = connect(config).await;
    let things = Things { db: db.clone() };
    let others = fill(&cluster).await;
    // A lane without any connection says why at once; one that has some goes on with these.
    let began = Instant::now();
    let error = things.write_port().await.unwrap_err().to_string();
    says(&error, &["too many clients", "53300", "raise max_connections"]);
    assert!(began.elapsed() < Duration::from_millis(800), "{:?}", began.elapsed());
    let mut calls = JoinSet::new();
    for _ in 0..5 {
        let things = things.clone();
        calls.spawn(async move { things.slow_read(0.01).await });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap().unwrap();
    }
    // Whoever waits in vain learns the numbers and the cause.
    let holder = tokio::spawn({
        let things = things.clone();
        async move { things.slow_read(2.5).await }
    });
    until("it is in use", Duration::from_secs(2), async || db.status().connections.in_use == 1).await;
    let error = things.value(1).await.unwrap_err().to_string();
    says(&error, &["no connection came free within", "1 of ", "are in use", "too many clients"]);
    holder.await.unwrap().unwrap();
    drop(others);
    until("writes are served", Duration::from_secs(5), async || things.write_port().await.is_ok()).await;
    // And at the start.
    let _others = fill(&cluster).await;
    says(&refusal(cluster.primary().url()).await, &["too many clients", "53300"]);
}

/// A database with one connection per lane, held by a write that takes so long.
async fn crowded(
    cluster: &Cluster,
    change: impl FnOnce(&mut dbopt_diesel::Config),
) -> (Things, JoinHandle<QueryResult<usize>>) {
    let mut config = config(cluster);
    (config.pool.min, config.pool.max) = (3, 3);
    change(&mut config);
    let db = connect(config).await;
    let things = Things { db: db.clone() };
    let held = tokio::spawn({
        let things = things.clone();
        async move { things.slow_write(1.5).await }
    });
    until("it is in use", Duration::from_secs(2), async || db.status().connections.in_use == 1).await;
    (things, held)
}

#[tokio::test]
async fn a_full_queue_and_a_long_wait_are_told_with_numbers() {
    let cluster = cluster(0).await;
    let (things, held) = crowded(&cluster, |config| config.pool.max_waiting = 2).await;
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let things = things.clone();
            tokio::spawn(async move { things.write_port().await })
        })
        .collect();
    let waits = || things.db.status().nodes[0].pools.iter().map(|pool| pool.waiting).sum::<usize>();
    until("two wait", Duration::from_secs(1), async || waits() == 2).await;
    let began = Instant::now();
    says(&things.write_port().await.unwrap_err().to_string(), &["2 callers are waiting already", "pool.max_waiting"]);
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    held.await.unwrap().unwrap();
    for caller in waiting {
        caller.await.unwrap().unwrap();
    }

    let (things, held) = crowded(&cluster, |config| config.pool.acquire_timeout = Duration::from_millis(300)).await;
    let began = Instant::now();
    let error = things.write_port().await.unwrap_err().to_string();
    says(&error, &["primary (write)", "no connection came free within", "ms: 1 of 1 are in use"]);
    assert!(began.elapsed() < Duration::from_millis(900), "not when the write ends: {:?}", began.elapsed());
    held.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_inside_another_ones_transaction_is_a_clear_error() {
    let cluster = cluster(0).await;
    let things = Things { db: connect(config(&cluster)).await };
    let inner = things.clone();
    let outcome: QueryResult<()> = things.db.transaction(async |_| inner.value(1).await.map(drop)).await;
    let error = outcome.unwrap_err();
    let kind = Error::of(&error).expect("it is dbopt's").kind();
    assert!(matches!(kind, ErrorKind::NestedCall { inner: "Things::value", outer: "Db::transaction" }), "{kind:?}");
    says(&error.to_string(), &["Things::value", "value_in(conn, ..)", "independent(..)"]);
}

/// Each holds one connection and wants a second: who waited for it would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn independent_calls_inside_transactions_never_wait_for_each_other() {
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    (config.pool.min, config.pool.max, config.pool.write_share) = (2, 6, 0.4);
    let db = connect(config).await;
    let write = |db: &Db| db.status().nodes[0].pools.iter().find(|pool| pool.lane == "write").unwrap().clone();
    assert_eq!(write(&db).max, 2);
    let things = Things { db };
    // Alone, it has a connection of its own, and what it writes survives a rollback.
    let audit = things.clone();
    let outcome: QueryResult<()> = things
        .db
        .transaction(async |_| {
            independent(audit.set(1000, 7)).await?;
            Err(diesel::result::Error::RollbackTransaction)
        })
        .await;
    assert_eq!(outcome, Err(diesel::result::Error::RollbackTransaction));
    assert_eq!(things.value(1000).await.unwrap(), Some(7));

    let mut all = JoinSet::new();
    for id in 0..100 {
        let things = things.clone();
        all.spawn(async move {
            let inner = things.clone();
            let began = Instant::now();
            let outcome: QueryResult<()> =
                things.db.transaction(async |_| independent(inner.set(id, id)).await.map(drop)).await;
            (outcome, began.elapsed())
        });
    }
    let (mut done, mut refused) = (0, 0);
    let everybody = async {
        while let Some(ended) = all.join_next().await {
            let (outcome, time) = ended.unwrap();
            assert!(time < Duration::from_secs(4), "nobody was saved by the acquire timeout: {time:?}");
            match outcome {
                Ok(()) => done += 1,
                Err(error) => {
                    says(&error.to_string(), &["no connection is free", "must not wait"]);
                    refused += 1;
                }
            }
        }
    };
    timeout(Duration::from_secs(20), everybody).await.expect("all of them end");
    assert_eq!(done + refused, 100);
    assert!(refused > 0, "they were in each other's way: {done} done");
    let idle = write(&things.db);
    assert_eq!((idle.in_use, idle.waiting), (0, 0));
}

#[tokio::test]
async fn a_method_that_holds_its_connection_for_too_long_is_named() {
    let (log, _guard) = Log::keep();
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    assert_eq!(config.pool.leak_warning, Duration::from_secs(60));
    // Looked after four times a second.
    (config.pool.leak_warning, config.pool.idle_timeout) = (Duration::from_millis(500), Duration::from_secs(2));
    let things = Things { db: connect(config).await };
    for _ in 0..5 {
        things.value(1).await.unwrap();
    }
    things.slow_read(1.5).await.unwrap();
    let warnings = log.with("pool.leak_warning");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    says(&warnings[0], &["WARN", "node=primary", "lane=read", "Things::slow_read", "things.rs", "held_ms="]);
}
