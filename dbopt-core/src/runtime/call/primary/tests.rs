use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::backend::fake::FakeCluster;
use crate::context::Context;
use crate::error::Error;
use crate::op::{Intent, Op};
use crate::position::{Lsn, Position};
use crate::runtime::{Config, Runtime};

static READ: Op = Op::new("Things::read", Intent::Read);
static PRIMARY_READ: Op = Op::new("Things::primary_read", Intent::Read).from_primary();
static WRITE: Op = Op::new("Things::write", Intent::Write);
static CRITICAL: Op = Op::new("Things::critical", Intent::Write).critical();

type Db = Arc<Runtime<FakeCluster>>;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A primary `a` and a replica `b`.
async fn pair(change: impl FnOnce(&mut Config)) -> (FakeCluster, Db) {
    let cluster = FakeCluster::default();
    drop((cluster.node("a"), cluster.node("b")));
    let mut config = Config::for_urls(["fake://a", "fake://b"]);
    // A retry would hide that nobody waited.
    config.retry.attempts = 0;
    change(&mut config);
    let db = Runtime::connect(cluster.clone(), config).await.expect("both answer");
    (cluster, db)
}

async fn write(db: &Db) -> Result<(), Error> {
    db.write(&WRITE, async |_| Ok(())).await
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_waits_and_goes_to_the_next_primary_in_order() {
    let (cluster, db) = pair(|_| ()).await;
    cluster.node("a").kill();
    let (served, mut calls) = (Arc::new(Mutex::new(Vec::new())), JoinSet::new());
    for n in 0..40 {
        let (db, served) = (db.clone(), served.clone());
        let op = if n % 10 == 9 { &CRITICAL } else { &WRITE };
        calls.spawn(async move {
            let body = async |_: &mut _| {
                served.lock().push(n);
                Ok(())
            };
            db.write::<(), Error, _>(op, body).await
        });
    }
    calls.spawn({
        let db = db.clone();
        async move { db.read(&PRIMARY_READ, async |_| Ok(())).await }
    });
    sleep(seconds(20)).await;
    assert!(served.lock().is_empty() && db.status().primary_waits.waiting == 41, "{:?}", db.status().primary_waits);
    cluster.node("b").promote(2, 100);
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    let served = served.lock().clone();
    let place = |n: usize| served.iter().position(|served| *served == n).unwrap();
    assert_eq!(served.len(), 40);
    let others: Vec<usize> = served.iter().copied().filter(|n| n % 10 != 9).collect();
    assert!(others.is_sorted(), "{others:?}");
    assert!((9..40).step_by(10).all(|n| place(n) < 12), "critical calls come first: {served:?}");
    let waits = db.status().primary_waits;
    assert_eq!((waits.waiting, waits.waited, waits.refused), (0, 41, 0));
}

#[tokio::test(start_paused = true)]
async fn only_so_many_wait_and_who_goes_away_makes_room() {
    let (cluster, db) = pair(|config| config.failover.wait_limit = 10).await;
    cluster.node("a").kill();
    // The monitor is not there yet: the first who find out wait, too.
    let spawn = |calls: &mut JoinSet<_>| {
        let db = db.clone();
        calls.spawn(async move { write(&db).await });
    };
    let (mut waiting, mut late) = (JoinSet::new(), JoinSet::new());
    (0..10).for_each(|_| spawn(&mut waiting));
    sleep(seconds(5)).await;
    (0..20).for_each(|_| spawn(&mut late));
    let began = Instant::now();
    for refused in late.join_all().await {
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("10 calls wait for one already (failover.wait_limit)"), "{error}");
        assert!(error.is_retryable() && error.retry_after().is_some());
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "at once");
    waiting.abort_all();
    while waiting.join_next().await.is_some() {}
    assert_eq!(db.status().primary_waits.waiting, 0);
    (0..10).for_each(|_| spawn(&mut waiting));
    sleep(seconds(5)).await;
    cluster.node("b").promote(2, 100);
    assert!(waiting.join_all().await.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_it_may_or_where_nothing_can_come() {
    let (cluster, db) = pair(|_| ()).await;
    cluster.node("a").kill();
    let began = Instant::now();
    let error = Context::anonymous().with_deadline(began + seconds(3)).scope(write(&db)).await.unwrap_err();
    assert_eq!(began.elapsed(), seconds(3));
    let text = error.to_string();
    assert!(text.contains("waiting for a node to become the primary") && text.contains("refused"), "{text}");
    assert!(error.is_retryable());
    let began = Instant::now();
    assert!(write(&db).await.is_err());
    assert_eq!(began.elapsed(), seconds(30), "call.timeout");
    // Reads have somewhere to go.
    let began = Instant::now();
    db.read(&READ, async |_| Ok::<_, Error>(())).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    // With one server nobody can take its place.
    let cluster = FakeCluster::default();
    drop(cluster.node("alone"));
    let mut config = Config::for_urls(["fake://alone"]);
    config.retry.attempts = 0;
    let db = Runtime::connect(cluster.clone(), config).await.unwrap();
    cluster.node("alone").kill();
    let began = Instant::now();
    write(&db).await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

/// Fenced by hand: the server itself says so when the transaction begins, and nothing of the body has run.
#[tokio::test(start_paused = true)]
async fn a_primary_that_takes_no_writes_any_more_is_left_before_the_body_runs() {
    let (cluster, db) = pair(|config| config.cluster.probe_interval = seconds(9)).await;
    cluster.node("a").report.lock().read_only = true;
    let ran = Arc::new(Mutex::new(0));
    let promoted = async {
        sleep(seconds(20)).await;
        assert_eq!(*ran.lock(), 0);
        cluster.node("b").promote(2, 100);
    };
    let call = async {
        let body = async |_: &mut _| {
            *ran.lock() += 1;
            Ok::<_, Error>(())
        };
        db.write(&WRITE, body).await
    };
    let (done, ()) = tokio::join!(call, promoted);
    done.unwrap();
    assert_eq!((*ran.lock(), db.status().primary.as_deref()), (1, Some("b")));
}

/// What is committed on a node that another one has replaced is lost, whatever that node says.
#[tokio::test(start_paused = true)]
async fn a_commit_on_a_replaced_primary_is_not_called_done() {
    let (cluster, db) = pair(|_| ()).await;
    *cluster.node("a").commit_delay.lock() = seconds(20);
    let began = Instant::now();
    let promoted = async {
        sleep(seconds(1)).await;
        cluster.node("b").promote(2, 100);
    };
    let (done, ()) = tokio::join!(write(&db), promoted);
    let error = done.unwrap_err();
    assert!(matches!(&error, Error::OutcomeUnknown { node, .. } if node == "a"), "{error}");
    assert!(began.elapsed() < seconds(5), "as soon as that is known: {:?}", began.elapsed());
    sleep(seconds(1)).await;
    assert_eq!(cluster.node("a").open_by_lane[1].load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_takeover_is_measured_and_what_was_lost_is_not_waited_for() {
    let (cluster, db) = pair(|_| ()).await;
    assert!(db.metrics().contains("dbopt_failovers_total 0"));
    for _ in 0..5 {
        write(&db).await.unwrap();
    }
    let lost = Context::anonymous().with_token(Position { timeline: 1, lsn: Lsn(150) });
    let kept = Context::anonymous().with_token(Position { timeline: 1, lsn: Lsn(110) });
    sleep(seconds(3)).await;
    cluster.node("a").kill();
    let promoted = async {
        sleep(seconds(8)).await;
        cluster.node("b").promote(2, 120);
    };
    let (done, ()) = tokio::join!(write(&db), promoted);
    done.unwrap();
    let failovers = db.status().failovers;
    assert_eq!((failovers.count, failovers.lost_bytes), (1, Some(30)), "150 were written, 120 are there");
    assert!((8.0..10.5).contains(&failovers.outage_seconds.unwrap()), "{failovers:?}");
    let events: Vec<String> = db.status().events.into_iter().map(|event| event.text).collect();
    assert!(events.iter().any(|text| text.contains("at least 30 bytes of log are lost")), "{events:?}");
    let metrics = db.metrics();
    for line in ["dbopt_failovers_total 1", "dbopt_failover_lost_bytes 30", "dbopt_failover_outage_seconds 8."] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    // A token for something that is gone is served, and its bearer can know.
    let began = Instant::now();
    let read = async || db.read(&READ, async |_| Ok::<_, Error>(())).await;
    for (context, is_lost) in [(lost, true), (kept, false)] {
        context.clone().scope(read()).await.unwrap();
        assert_eq!(context.has_lost_writes(), is_lost);
    }
    assert!(began.elapsed() < seconds(1));
    assert_eq!(db.status().failovers.tokens_lost, 1);
    // The old one returns, and was further than anybody knew.
    cluster.node("a").report.lock().lsn = Lsn(190);
    cluster.node("a").revive();
    sleep(seconds(5)).await;
    assert_eq!(db.status().failovers.lost_bytes, Some(70));
    // Others go on writing there: that is told once, not with each look.
    for lsn in 191..200 {
        cluster.node("a").report.lock().lsn = Lsn(lsn);
        sleep(seconds(2)).await;
    }
    assert_eq!(db.status().failovers.lost_bytes, Some(79));
    let told = db.status().events.into_iter().filter(|event| event.text.contains("is back, and tells more")).count();
    assert_eq!(told, 1);
}
