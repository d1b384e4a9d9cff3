//! `max_concurrent`: a slow method leaves connections to the others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dbopt_diesel::prelude::*;
use dbopt_tests::{cluster, config, connect};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Calls of a report that runs until it is told to end.
#[derive(Clone)]
struct Reports {
    db: Db,
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    end: Arc<Notify>,
}

#[repository]
impl Reports {
    #[read(max_concurrent = 2)]
    async fn report(&self, conn: &mut Conn) -> QueryResult<()> {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1")).execute(conn).await?;
        self.end.notified().await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    #[read(max_concurrent = 1)]
    async fn inside_itself(&self, conn: &mut Conn) -> Result<(), dbopt_diesel::Error> {
        let _ = conn;
        Box::pin(self.inside_itself()).await
    }

    #[write(max_concurrent = 1)]
    async fn store(&self, conn: &mut Conn) -> QueryResult<usize> {
        diesel::sql_query("UPDATE things SET value = value").execute(conn).await
    }

    #[read]
    async fn other(&self, conn: &mut Conn) -> QueryResult<usize> {
        diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1")).execute(conn).await
    }
}

async fn reports(change: impl FnOnce(&mut Config)) -> (dbopt_diesel::dev::Cluster, Reports) {
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    change(&mut config);
    let db = connect(config).await;
    (cluster, Reports { db, running: Arc::default(), most: Arc::default(), end: Arc::default() })
}

async fn until_running(reports: &Reports, count: usize) {
    let running = async || AtomicUsize::load(&reports.running, Ordering::SeqCst) == count;
    dbopt_tests::until("so many run", Duration::from_secs(10), running).await;
}

#[tokio::test]
async fn so_many_calls_run_at_once_and_the_others_take_their_turn() {
    let (_cluster, reports) = reports(|_| {}).await;
    let mut calls = JoinSet::new();
    for _ in 0..7 {
        let reports = reports.clone();
        calls.spawn(async move { reports.report().await });
    }
    until_running(&reports, 2).await;
    reports.other().await.expect("other methods have connections");
    reports.store().await.expect("and a limit of their own");
    for _ in 0..7 {
        reports.end.notify_one();
        calls.join_next().await.unwrap().unwrap().unwrap();
    }
    assert_eq!(AtomicUsize::load(&reports.most, Ordering::SeqCst), 2);
}

#[tokio::test]
async fn who_waits_too_long_is_told_why() {
    let (_cluster, reports) = reports(|config| config.pool.acquire_timeout = Duration::from_millis(200)).await;
    let mut calls = JoinSet::new();
    for _ in 0..2 {
        let reports = reports.clone();
        calls.spawn(async move { reports.report().await });
    }
    until_running(&reports, 2).await;
    let refused = reports.report().await.unwrap_err().to_string();
    assert!(refused.contains("2 calls of it run already (max_concurrent = 2)"), "{refused}");
    // A caller that goes away while it waits leaves its place to others, and so does one that is dropped while it runs.
    let waiting = tokio::spawn({
        let reports = reports.clone();
        async move { reports.report().await }
    });
    tokio::task::yield_now().await;
    waiting.abort();
    calls.abort_all();
    while calls.join_next().await.is_some() {}
    reports.running.store(0, Ordering::SeqCst);
    reports.end.notify_one();
    reports.report().await.expect("there is room again");
}

/// The future of a call that was let in holds its turn until it is done, also while its node is exchanged for another.
#[tokio::test]
async fn a_body_that_runs_again_keeps_its_turn() {
    let cluster = cluster(2).await;
    let db = connect(config(&cluster)).await;
    let reports = Reports { db, running: Arc::default(), most: Arc::default(), end: Arc::default() };
    let mut calls = JoinSet::new();
    for _ in 0..2 {
        let reports = reports.clone();
        calls.spawn(async move { reports.report().await });
    }
    until_running(&reports, 2).await;
    let before: u64 = dbopt_tests::calls(&reports.db, "read").values().sum();
    cluster.replica(1).kill().await.unwrap();
    cluster.replica(2).kill().await.unwrap();
    // Their bodies have begun again, on the primary.
    until_running(&reports, 4).await;
    for _ in 0..4 {
        reports.end.notify_one();
    }
    for _ in 0..2 {
        calls.join_next().await.unwrap().unwrap().unwrap();
    }
    assert_eq!(dbopt_tests::calls(&reports.db, "read").values().sum::<u64>() - before, 2);
}

#[tokio::test]
async fn a_call_inside_itself_is_an_error_and_no_wait() {
    let (_cluster, reports) = reports(|_| {}).await;
    let began = tokio::time::Instant::now();
    let error = reports.inside_itself().await.unwrap_err().to_string();
    assert!(error.contains("inside_itself_in"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(4), "it did not wait for a turn");
}
