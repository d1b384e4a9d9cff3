//! Who waits for another attempt, who does not, and what circuits are told: on a cluster in memory, in paused time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backend::fake::FakeCluster;
use crate::backend::{ConnectError, Fault, FaultKind, Role};
use crate::breaker::{Failure, State};
use crate::context::{Context, independent};
use crate::error::{Error, Reason};
use crate::op::{Intent, Lane, Op};
use crate::runtime::{Config, Runtime};

static READ: Op = Op::new("Things::read", Intent::Read);
static WRITE: Op = Op::new("Things::write", Intent::Write);

type Db = Arc<Runtime<FakeCluster>>;

/// A primary `a` and a replica `b`.
async fn pair(change: impl FnOnce(&mut Config)) -> (FakeCluster, Db) {
    let cluster = FakeCluster::default();
    drop((cluster.node("a"), cluster.node("b")));
    let mut config = Config::for_urls(["fake://a", "fake://b"]);
    // Those who wait for another primary have tests of their own.
    config.failover.wait_limit = 0;
    change(&mut config);
    let db = Runtime::connect(cluster.clone(), config).await.expect("both answer");
    (cluster, db)
}

async fn write(db: &Db) -> Result<(), Error> {
    db.write(&WRITE, async |_| Ok(())).await
}

async fn read(db: &Db) -> Result<(), Error> {
    db.read(&READ, async |_| Ok(())).await
}

fn circuit(db: &Db, node: usize, lane: Lane) -> State {
    db.pool(node, lane).circuit().status().state
}

#[tokio::test(start_paused = true)]
async fn a_write_tries_three_times_more_after_one_two_and_four_seconds() {
    let (cluster, db) = pair(|_| ()).await;
    cluster.node("a").kill();
    let began = Instant::now();
    let error = write(&db).await.unwrap_err();
    let took = began.elapsed().as_secs_f64();
    assert!((3.5..7.1).contains(&took), "half to all of seven seconds: {took}");
    assert!(error.is_retryable(), "{error}");
    let counts = db.retry_counts();
    assert_eq!(counts.connects.iter().map(|(_, count)| count).sum::<u64>(), 3);
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_as_soon_as_the_node_is_back() {
    let (cluster, db) = pair(|_| ()).await;
    cluster.node("a").kill();
    let began = Instant::now();
    let back = async {
        sleep(Duration::from_millis(2500)).await;
        cluster.node("a").revive();
    };
    let (written, ()) = tokio::join!(write(&db), back);
    written.expect("it is served");
    assert!(began.elapsed() < Duration::from_millis(3600), "at the next answer to the monitor: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_nobody_while_another_node_can_serve_it() {
    let (cluster, db) = pair(|_| ()).await;
    let began = Instant::now();
    cluster.node("b").kill();
    for _ in 0..100 {
        read(&db).await.expect("the primary serves it");
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    cluster.node("a").kill();
    let served = tokio::join!(read(&db), async {
        sleep(Duration::from_secs(1)).await;
        cluster.node("b").revive();
    });
    served.0.expect("with nobody left it waits");
}

/// A restart under load: one of all who wait makes the test, and the others wait for its result rather than being refused.
#[tokio::test(start_paused = true)]
async fn those_who_wait_are_not_refused_while_the_circuit_is_tested() {
    let (cluster, db) = pair(|_| ()).await;
    *cluster.node("a").connect_delay.lock() = Duration::from_millis(20);
    cluster.node("a").kill();
    (0..40).for_each(|_| db.pool(0, Lane::Write).circuit().failed(Failure::Connect, "no"));
    db.cluster().suspect(0);
    let callers: Vec<_> = (0..10)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { write(&db).await })
        })
        .collect();
    sleep(Duration::from_secs(2)).await;
    cluster.node("a").revive();
    for caller in callers {
        caller.await.unwrap().expect("it is served");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_in_vain() {
    let began = Instant::now();
    // For a circuit that is open for half a minute.
    let (_, db) = pair(|_| ()).await;
    (0..5).for_each(|_| db.pool(0, Lane::Write).circuit().failed(Failure::Connect, "no"));
    let error = write(&db).await.unwrap_err();
    assert!(error.to_string().contains("circuit is open") && error.retry_after() > Some(Duration::from_secs(29)));
    // For a password to become right.
    let (cluster, db) = pair(|_| ()).await;
    cluster.node("a").kill();
    *cluster.node("a").refuses.lock() = Some(ConnectError::new(Reason::Authentication, "wrong password"));
    let error = write(&db).await.unwrap_err();
    assert!(error.to_string().contains("wrong password"), "{error}");
    // Beyond the deadline.
    let (cluster, db) = pair(|_| ()).await;
    cluster.node("a").kill();
    let soon = Context::anonymous().with_deadline(Instant::now() + Duration::from_millis(400));
    soon.scope(write(&db)).await.unwrap_err();
    // Without a retry left.
    let (cluster, db) = pair(|config| (config.retry.budget, config.retry.floor) = (0.0, 0)).await;
    cluster.node("a").kill();
    write(&db).await.unwrap_err();
    assert_eq!(db.retry_counts().refused, 1);
    // While holding another connection.
    let (cluster, db) = pair(|_| ()).await;
    let inner = db.clone();
    let nested: Result<(), Error> = db
        .read(&READ, async |_| {
            cluster.node("a").kill();
            independent(write(&inner)).await
        })
        .await;
    nested.unwrap_err();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_promotion_closes_the_circuits_of_what_has_changed() {
    let (cluster, db) = pair(|_| ()).await;
    for lane in Lane::ALL {
        (0..5).for_each(|_| db.pool(1, lane).circuit().failed(Failure::Connect, "no"));
        assert_eq!(circuit(&db, 1, lane), State::Open);
    }
    cluster.node("a").kill();
    {
        let promoted = cluster.node("b");
        let mut report = promoted.report.lock();
        (report.role, report.timeline, report.streaming) = (Role::Primary, Some(2), None);
    }
    sleep(Duration::from_secs(3)).await;
    assert_eq!(Lane::ALL.map(|lane| circuit(&db, 1, lane)), [State::Closed; 3]);
    write(&db).await.expect("the new primary serves it");
}

#[tokio::test(start_paused = true)]
async fn calls_tell_their_circuit_what_they_met() {
    // The replica in memory replays nothing.
    let change = |config: &mut Config| {
        (config.breaker.slow_call, config.routing.max_lag) = (Duration::from_secs(1), Duration::from_secs(3600));
    };
    let (_, db) = pair(change).await;
    let meets = async |kind: FaultKind| {
        let fault = Fault { kind, sqlstate: None, message: String::new() };
        let met: Result<(), Error> = db
            .write(&WRITE, async |conn| {
                conn.fault = Some(fault.clone());
                Err(Error::ShuttingDown { method: "the body's own error" })
            })
            .await;
        met.unwrap_err();
    };
    for _ in 0..20 {
        meets(FaultKind::Application).await;
        meets(FaultKind::Cancelled).await;
    }
    assert_eq!(circuit(&db, 0, Lane::Write), State::Closed);
    let before = db.pool(0, Lane::Write).circuit().successes();
    write(&db).await.unwrap();
    assert_eq!(db.pool(0, Lane::Write).circuit().successes(), before + 1);
    for _ in 0..5 {
        meets(FaultKind::Resources).await;
    }
    assert_eq!(circuit(&db, 0, Lane::Write), State::Open);
    assert_eq!(circuit(&db, 1, Lane::Read), State::Closed);
    for _ in 0..5 {
        let slow: Result<(), Error> = db
            .read(&READ, async |_| {
                sleep(Duration::from_secs(2)).await;
                Ok(())
            })
            .await;
        slow.unwrap();
    }
    assert_eq!(circuit(&db, 1, Lane::Read), State::Open, "slow ones count if that is wanted");
}

/// The monitor's own connections and the state over HTTP know of no circuit.
#[tokio::test(start_paused = true)]
async fn open_circuits_do_not_keep_the_monitor_away() {
    let (cluster, db) = pair(|_| ()).await;
    for lane in Lane::ALL {
        (0..5).for_each(|_| db.pool(0, lane).circuit().failed(Failure::Connect, "no"));
    }
    let probes = cluster.node("a").attempts.lock().len();
    cluster.node("a").deaths.fetch_add(1, Ordering::SeqCst);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(db.status().open_circuits.len(), 3);
    assert_eq!(db.status().primary.as_deref(), Some("a"), "it is known to be there");
    assert!(cluster.node("a").attempts.lock().len() <= probes + 1);
}
