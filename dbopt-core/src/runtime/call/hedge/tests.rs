//! Who is asked twice, how often, and whose answer counts: on a cluster in memory, in paused time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::backend::fake::{FakeCluster, FakeConnection};
use crate::backend::{Fault, FaultKind};
use crate::context::{Context, independent};
use crate::error::Error;
use crate::observe::HedgeCounts;
use crate::op::{Intent, Lane, Op};
use crate::position::{Lsn, Position};
use crate::route::balance::Policy;
use crate::runtime::{Config, Runtime};

const AFTER: Duration = Duration::from_millis(50);

static READ: Op = Op::new("Hedged::read", Intent::Read).hedge(AFTER);
static WRITE: Op = Op::new("Hedged::write", Intent::Write).hedge(AFTER);
static CRITICAL: Op = Op::new("Hedged::critical", Intent::Read).critical().hedge(AFTER);
static PRIMARY: Op = Op::new("Hedged::primary", Intent::Read).from_primary().hedge(AFTER);
static ONCE: Op = Op::new("Hedged::once", Intent::Read);

const LONG: Duration = Duration::from_secs(1);

/// A primary `a`, and the replicas `b` and `c`, which take turns.
async fn cluster(change: impl FnOnce(&mut Config)) -> Arc<Runtime<FakeCluster>> {
    let cluster = FakeCluster::default();
    for name in ["a", "b", "c"] {
        cluster.node(name);
    }
    let mut config = Config::for_urls(["fake://a", "fake://b", "fake://c"]);
    // The replicas in memory replay nothing.
    config.routing.max_lag = Duration::from_secs(3600);
    config.routing.balance = Policy::RoundRobin;
    change(&mut config);
    Runtime::connect(cluster, config).await.expect("all answer")
}

/// Which node a connection leads to: its place in the configuration.
fn place(conn: &FakeConnection) -> usize {
    conn.node().report.lock().server.started as usize
}

fn counts(won: u64, lost: u64, failed: u64) -> HedgeCounts {
    HedgeCounts { won, lost, failed, refused: 0 }
}

fn mistake() -> Error {
    Error::ShuttingDown { method: "the body's own error" }
}

fn node_fault() -> Option<Fault> {
    Some(Fault { kind: FaultKind::Resources, sqlstate: None, message: String::new() })
}

/// A read whose first attempt takes a second, and whose others take none; gives the nodes of both.
async fn slow_first(db: &Arc<Runtime<FakeCluster>>, op: &'static Op) -> Vec<usize> {
    let ran = parking_lot::Mutex::new(Vec::new());
    let read: Result<(), Error> = db
        .read(op, async |conn| {
            let first = {
                let mut ran = ran.lock();
                ran.push(place(conn));
                ran.len() == 1
            };
            if first {
                sleep(LONG).await;
            }
            Ok(())
        })
        .await;
    read.unwrap();
    ran.into_inner()
}

#[tokio::test(start_paused = true)]
async fn the_second_replica_answers_for_a_slow_one() {
    let db = cluster(|_| ()).await;
    let began = Instant::now();
    let ran = slow_first(&db, &READ).await;
    assert_eq!(began.elapsed(), AFTER);
    assert!(ran.len() == 2 && ran[0] != ran[1] && !ran.contains(&0), "two replicas: {ran:?}");
    assert_eq!(db.hedges.counts(), counts(1, 0, 0));
    let counted = db.calls.counts();
    let on = |node| counted.iter().find(|c| c.node == node && c.lane == Lane::Read).unwrap();
    assert_eq!((on(ran[0]).latency.count(), on(ran[0]).given_up.count()), (0, 1));
    assert_eq!((on(ran[1]).latency.count(), on(ran[1]).given_up.count()), (1, 0));
    assert!((on(ran[0]).given_up.sum - AFTER.as_secs_f64()).abs() < 1e-6);
    assert!((on(ran[1]).elsewhere - AFTER.as_secs_f64()).abs() < 1e-6, "its own time is what it took there");
}

#[tokio::test(start_paused = true)]
async fn the_first_may_still_be_the_first() {
    let db = cluster(|_| ()).await;
    let began = Instant::now();
    let read: Result<(), Error> = db
        .read(&READ, async |_| {
            sleep(AFTER * 3 / 2).await;
            Ok(())
        })
        .await;
    read.unwrap();
    assert_eq!((began.elapsed(), db.hedges.counts()), (AFTER * 3 / 2, counts(0, 1, 0)));
    assert!(
        db.calls.counts().iter().all(|c| c.given_up.count() == 0),
        "what was short because it began late says nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn only_plain_reads_on_replicas_are_asked_twice() {
    let db = cluster(|_| ()).await;
    for op in [&CRITICAL, &PRIMARY] {
        assert_eq!(slow_first(&db, op).await, [0]);
    }
    let written: Result<(), Error> = db
        .write(&WRITE, async |_| {
            sleep(LONG).await;
            Ok(())
        })
        .await;
    written.unwrap();
    let mine = Context::anonymous().with_token(Position { timeline: 1, lsn: Lsn(1) });
    assert_eq!(mine.scope(slow_first(&db, &READ)).await.len(), 1, "own writes");
    let inner = db.clone();
    let outer: Result<usize, Error> =
        db.write(&WRITE, async |_| Ok(independent(slow_first(&inner, &READ)).await.len())).await;
    assert_eq!(outer.unwrap(), 1, "inside another call");
    assert_eq!(slow_first(&db, &ONCE).await.len(), 1, "a method that does not ask for it");
    assert_eq!(db.hedges.counts(), HedgeCounts::default());
    let without = cluster(|config| config.routing.hedge_budget = 0.0).await;
    assert_eq!(slow_first(&without, &READ).await.len(), 1, "no budget");
    assert_eq!(without.hedges.counts(), HedgeCounts { refused: 1, ..HedgeCounts::default() });
}

#[tokio::test(start_paused = true)]
async fn with_one_replica_nobody_is_asked_twice_and_nothing_is_paid() {
    let db = cluster(|_| ()).await;
    db.cluster.suspect(1);
    assert_eq!(slow_first(&db, &READ).await, [2]);
    assert_eq!(db.hedges.counts(), HedgeCounts::default());
    assert!(db.may_hedge());
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_them_when_all_replicas_are_slow() {
    const READS: u64 = 2000;
    let db = cluster(|_| ()).await;
    let began = Instant::now();
    for _ in 0..READS / 4 {
        let mut all = JoinSet::new();
        for _ in 0..4 {
            let db = db.clone();
            all.spawn(async move {
                let read: Result<(), Error> = db
                    .read(&READ, async |_| {
                        sleep(AFTER * 2).await;
                        Ok(())
                    })
                    .await;
                read.unwrap();
            });
        }
        all.join_all().await;
    }
    let HedgeCounts { won, lost, failed, refused } = db.hedges.counts();
    let (hedged, most) = (won + lost + failed, READS as f64 * 0.05 + 1.0 + began.elapsed().as_secs_f64());
    assert!(hedged as f64 <= most, "{hedged} of at most {most}");
    assert!(hedged as f64 >= most * 0.8, "and they are made: {hedged} of {most}");
    assert!(refused > hedged && hedged + refused <= READS, "{hedged} and {refused}");
}

/// What each attempt does after its time, the first one first.
type Script = [(Duration, fn(&mut FakeConnection) -> Result<usize, Error>); 2];

async fn scripted(db: &Arc<Runtime<FakeCluster>>, script: Script) -> Result<usize, Error> {
    let begun = parking_lot::Mutex::new(0);
    db.read(&READ, async |conn| {
        let number = {
            let mut begun = begun.lock();
            *begun += 1;
            *begun - 1_usize
        };
        let (time, end) = script[number.min(1)];
        sleep(time).await;
        end(conn)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn errors_of_nodes_are_no_answers_and_others_are() {
    let fails = |conn: &mut FakeConnection| {
        conn.fault = node_fault();
        Err(mistake())
    };
    // So many faults in so few calls would open a circuit.
    let db = cluster(|config| (config.call.attempts, config.breaker.enabled) = (1, false)).await;
    let began = Instant::now();
    // The second fails: the first is waited for.
    assert_eq!(scripted(&db, [(LONG, |_| Ok(1)), (AFTER, fails)]).await.unwrap(), 1);
    assert_eq!((began.elapsed(), db.hedges.counts()), (LONG, counts(0, 0, 1)));
    // The first fails: the second is waited for.
    assert_eq!(scripted(&db, [(AFTER * 2, fails), (LONG, |_| Ok(2))]).await.unwrap(), 2);
    assert_eq!((began.elapsed(), db.hedges.counts()), (LONG * 2 + AFTER, counts(1, 0, 1)));
    // Both fail.
    sleep(LONG).await;
    scripted(&db, [(AFTER * 2, fails), (LONG, fails)]).await.unwrap_err();
    assert_eq!(db.hedges.counts(), counts(1, 0, 2));
    // The statement's own error ends it, whoever tells it.
    sleep(LONG).await;
    let began = Instant::now();
    scripted(&db, [(LONG, |_| Ok(1)), (AFTER, |_| Err(mistake()))]).await.unwrap_err();
    assert_eq!((began.elapsed(), db.hedges.counts()), (AFTER * 2, counts(2, 0, 2)));
    sleep(LONG).await;
    let began = Instant::now();
    scripted(&db, [(AFTER * 2, |_| Err(mistake())), (LONG, |_| Ok(2))]).await.unwrap_err();
    assert_eq!((began.elapsed(), db.hedges.counts()), (AFTER * 2, counts(2, 1, 2)));
}

#[tokio::test(start_paused = true)]
async fn a_call_inside_either_attempt_is_nested() {
    let db = cluster(|_| ()).await;
    let inner = db.clone();
    let begun = parking_lot::Mutex::new(0);
    let read: Result<(), Error> = db
        .read(&READ, async |_| {
            let first = std::mem::replace(&mut *begun.lock(), 1) == 0;
            sleep(if first { AFTER * 2 } else { AFTER * 10 }).await;
            inner.read(&READ, async |_| Ok(())).await
        })
        .await;
    assert!(matches!(read, Err(Error::NestedCall { .. })), "{read:?}");
    let read: Result<(), Error> = {
        *begun.lock() = 0;
        sleep(LONG).await;
        db.read(&READ, async |_| {
            let first = std::mem::replace(&mut *begun.lock(), 1) == 0;
            sleep(if first { AFTER * 10 } else { AFTER }).await;
            inner.read(&READ, async |_| Ok(())).await
        })
        .await
    };
    assert!(matches!(read, Err(Error::NestedCall { .. })), "{read:?}");
    assert_eq!(db.hedges.counts(), counts(1, 1, 0));
}

#[test]
fn settings_that_make_no_sense_say_what_to_write() {
    for budget in [-1.0, 0.6, f64::NAN] {
        let mut config = Config::for_urls(["fake://a"]);
        config.routing.hedge_budget = budget;
        assert!(config.problems().join("\n").contains("such as 0.05"), "{budget}");
    }
}
