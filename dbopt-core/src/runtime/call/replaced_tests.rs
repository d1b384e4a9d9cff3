//! What becomes of calls whose primary is replaced or dies under them: on a cluster in memory, in paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backend::fake::FakeCluster;
use crate::context::Context;
use crate::error::Error;
use crate::op::{Intent, Lane, Op};
use crate::runtime::{Config, Runtime};

static READ: Op = Op::new("Things::read", Intent::Read);
static WRITE: Op = Op::new("Things::write", Intent::Write);
static PLAIN_WRITE: Op = Op::new("Things::plain_write", Intent::Write).without_transaction();

type Db = Arc<Runtime<FakeCluster>>;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A primary `a`, and replicas.
async fn start(names: &[&str]) -> (FakeCluster, Db) {
    let cluster = FakeCluster::default();
    names.iter().for_each(|name| drop(cluster.node(name)));
    let mut config = Config::for_urls(names.iter().map(|name| format!("fake://{name}")));
    config.retry.attempts = 0;
    let db = Runtime::connect(cluster.clone(), config).await.expect("all answer");
    (cluster, db)
}

/// Completes in the moment in which `b` is known to lead.
async fn another_leads(db: Db) {
    let mut changes = db.cluster().changes();
    while db.status().primary.as_deref() != Some("b") {
        changes.changed().await.expect("the monitor lives");
    }
}

async fn promotes(cluster: &FakeCluster) {
    sleep(seconds(1)).await;
    cluster.node("b").promote(2, 100);
}

fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::OutcomeUnknown { node, .. } if node == "a")
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_a_replaced_primary_answers_is_unknown() {
    let (cluster, db) = start(&["a", "b"]).await;
    *cluster.node("a").commit_waits.lock() = Some(Box::pin(another_leads(db.clone())));
    let (done, ()) = tokio::join!(db.write::<(), Error, _>(&WRITE, async |_| Ok(())), promotes(&cluster));
    let error = done.unwrap_err();
    assert!(is_unknown(&error), "{error}");
    assert!(!error.is_retryable());
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_connection_is_lost_or_that_comes_too_late_is_unknown() {
    let (cluster, db) = start(&["a", "b"]).await;
    *cluster.node("a").commit_delay.lock() = seconds(20);
    let soon = Context::anonymous().with_deadline(Instant::now() + seconds(3));
    let error = soon.scope(db.write::<(), Error, _>(&WRITE, async |_| Ok(()))).await.unwrap_err();
    assert!(is_unknown(&error) && error.to_string().contains("in time"), "{error}");
    let killed = async {
        sleep(seconds(1)).await;
        cluster.node("a").kill();
    };
    *cluster.node("a").commit_delay.lock() = seconds(2);
    let (done, ()) = tokio::join!(db.write::<(), Error, _>(&WRITE, async |_| Ok(())), killed);
    let error = done.unwrap_err();
    assert!(is_unknown(&error), "{error}");
}

/// The body ends as another one takes over: with a transaction nothing is committed, which is certain; without one nobody knows.
#[tokio::test(start_paused = true)]
async fn a_body_that_ends_on_a_replaced_primary_is_not_committed_there() {
    for (op, unknown) in [(&WRITE, false), (&PLAIN_WRITE, true)] {
        let (cluster, db) = start(&["a", "b"]).await;
        let before = cluster.node("a").report.lock().lsn;
        let body = async |_: &mut _| {
            another_leads(db.clone()).await;
            Ok::<_, Error>(())
        };
        let (done, ()) = tokio::join!(db.write(op, body), promotes(&cluster));
        let error = done.unwrap_err();
        assert_eq!(is_unknown(&error), unknown, "{error}");
        assert_eq!(error.is_retryable(), !unknown);
        assert_eq!(cluster.node("a").report.lock().lsn, before, "nothing was committed");
    }
}

/// Idle ones, those in use, and those of calls that were ended.
#[tokio::test(start_paused = true)]
async fn a_second_after_another_one_leads_no_connection_to_the_old_primary_is_open() {
    let (cluster, db) = start(&["a", "b"]).await;
    let busy = async |_: &mut _| {
        sleep(seconds(60)).await;
        Ok::<_, Error>(())
    };
    let open = || -> usize {
        let lanes = [Lane::Write, Lane::Critical];
        lanes.iter().map(|lane| cluster.node("a").open_by_lane[lane.index()].load(Ordering::SeqCst)).sum()
    };
    let began = Instant::now();
    let watched = async {
        sleep(seconds(1)).await;
        assert!(open() > 3, "{} are open", open());
        cluster.node("b").promote(2, 100);
        another_leads(db.clone()).await;
        sleep(seconds(1)).await;
        assert_eq!(open(), 0);
    };
    let (one, other, ()) = tokio::join!(db.write(&WRITE, busy), db.write(&WRITE, busy), watched);
    assert!(one.is_err() && other.is_err());
    assert!(began.elapsed() < seconds(10), "they end with the news: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_runs_on_a_node_that_dies_ends_and_a_read_goes_elsewhere() {
    let (_, db) = start(&["a", "b", "c"]).await;
    let runs = AtomicUsize::new(0);
    let body = async |conn: &mut crate::backend::fake::FakeConnection| {
        let node = conn.node().clone();
        if runs.fetch_add(1, Ordering::SeqCst) == 0 {
            // Its connection says nothing: the monitor finds out.
            node.kill();
            sleep(seconds(60)).await;
        }
        Ok::<_, Error>(())
    };
    let began = Instant::now();
    db.read(&READ, body).await.unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert!(began.elapsed() < seconds(5), "{:?}", began.elapsed());
    runs.store(0, Ordering::SeqCst);
    let error = db.write(&WRITE, body).await.unwrap_err();
    assert!(error.to_string().contains("nothing was committed") && error.is_retryable(), "{error}");
    assert!(began.elapsed() < seconds(10), "{:?}", began.elapsed());
}
