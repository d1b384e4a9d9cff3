//! R4 on real servers: how many connections there are, when they are opened and closed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use dbopt_diesel::dev::{Cluster, Shutdown};
use dbopt_diesel::{Config, Db, Intent, Op};
use dbopt_tests::log::Log;
use dbopt_tests::{Things, cluster, config, connect, session_count, sessions, until};
use diesel::QueryResult;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

static HOLD: Op = Op::new("Test::hold", Intent::Read);

/// A call that keeps its connection until told to end.
struct Holding {
    end: watch::Sender<bool>,
    task: JoinHandle<QueryResult<()>>,
}

impl Holding {
    fn write(db: &Db) -> Self {
        let (db, (end, mut told)) = (db.clone(), watch::channel(false));
        let body = async move |_: &mut dbopt_diesel::Conn| {
            let _ = told.wait_for(|end| *end).await;
            QueryResult::Ok(())
        };
        Holding { end, task: tokio::spawn(async move { db.transaction(body).await }) }
    }

    fn read(db: &Db) -> Self {
        let (db, (end, told)) = (db.clone(), watch::channel(false));
        let hold = async move {
            let body = async |_: &mut dbopt_diesel::Conn| {
                let _ = told.clone().wait_for(|end| *end).await;
                QueryResult::Ok(())
            };
            db.read(&HOLD, body).await
        };
        Holding { end, task: tokio::spawn(hold) }
    }

    async fn end(self) {
        self.end.send_replace(true);
        self.task.await.unwrap().unwrap();
    }
}

fn in_use(db: &Db) -> usize {
    db.status().connections.in_use
}

async fn settles_at(db: &Db, count: usize) {
    until("calls hold their connections", Duration::from_secs(5), async || in_use(db) == count).await;
}

/// A session on another database, which counts among no pool's.
async fn admin(cluster: &Cluster) -> tokio_postgres::Client {
    let url = cluster.primary().url_for("postgres");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

const POOLED: &str = "application_name IN ('dbopt read', 'dbopt write', 'dbopt critical')";

/// 4.1: 200 slow calls at once on all nodes and lanes use what there is, and no more; at no time are there fewer than 10.
#[tokio::test]
async fn r04_1_between_ten_and_fifty_connections_per_instance() {
    let cluster = cluster(3).await;
    let db = connect(config(&cluster)).await;
    let things = Things { db: db.clone() };
    let (mut fewest, mut most) = (session_count(&cluster).await, 0);
    let mut calls = JoinSet::new();
    for i in 0..200 {
        let things = things.clone();
        match i % 10 {
            0..6 => calls.spawn(async move { things.slow_read(0.3).await.map(drop) }),
            6..9 => calls.spawn(async move { things.slow_write(0.3).await.map(drop) }),
            _ => calls.spawn(async move { things.critical_set(i, i).await.map(drop) }),
        };
    }
    while !calls.is_empty() {
        let now = session_count(&cluster).await;
        (fewest, most) = (fewest.min(now), most.max(now));
        while let Some(done) = calls.try_join_next() {
            done.unwrap().unwrap();
        }
    }
    assert!((42..=50).contains(&most), "{most} at most");
    assert!(fewest >= 10, "{fewest} at least");
    assert!(db.status().connections.max == 50 && db.status().connections.open <= 50);
}

/// 4.1 when every lane of every node is crowded at once, its fallback too: all 50 are used.
#[tokio::test]
async fn r04_1_all_fifty_connections_can_be_used() {
    let cluster = cluster(1).await;
    let db = connect(config(&cluster)).await;
    let things = Things { db: db.clone() };
    let mut calls = JoinSet::new();
    for i in 0..200 {
        let things = things.clone();
        match i % 4 {
            0 => calls.spawn(async move { things.slow_read(0.4).await.map(drop) }),
            1 => calls.spawn(async move { things.slow_primary_read(0.4).await.map(drop) }),
            2 => calls.spawn(async move { things.slow_write(0.4).await.map(drop) }),
            _ => calls.spawn(async move { things.slow_critical(0.4).await.map(drop) }),
        };
    }
    let (mut most, mut most_counted) = (0, 0);
    while !calls.is_empty() {
        most = most.max(session_count(&cluster).await);
        most_counted = most_counted.max(db.status().connections.open);
        while let Some(done) = calls.try_join_next() {
            done.unwrap().unwrap();
        }
    }
    assert_eq!((most, most_counted), (50, 50));
}

/// 4.2: after a burst the idle ones are closed, down to the minimum and never below.
#[tokio::test]
async fn r04_2_idle_connections_are_closed_but_never_below_the_minimum() {
    assert_eq!(Config::default().pool.idle_timeout, Duration::from_secs(300));
    let cluster = cluster(2).await;
    let mut config = config(&cluster);
    config.pool.idle_timeout = Duration::from_secs(2);
    let db = connect(config).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.extend([Holding::write(&db), Holding::read(&db), Holding::read(&db)]);
    }
    settles_at(&db, 24).await;
    for call in held {
        call.end().await;
    }
    let idle_since = Instant::now();
    assert!(session_count(&cluster).await >= 24);
    until("the idle ones are closed", Duration::from_secs(10), async || session_count(&cluster).await <= 10).await;
    assert!(idle_since.elapsed() >= Duration::from_millis(1500), "not before their time: {:?}", idle_since.elapsed());
    // As long again as it took them to be closed.
    while idle_since.elapsed() < Duration::from_secs(5) {
        assert_eq!(session_count(&cluster).await, 10);
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(db.status().connections.open, 10);
}

/// 4.3: more than 80 % in use is said once, until it was below 70 % again.
#[tokio::test]
async fn r04_3_high_utilisation_is_logged_once() {
    assert_eq!(Config::default().pool.utilisation_warning, 0.8);
    let (log, _guard) = Log::keep();
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    (config.pool.min, config.pool.max) = (4, 10);
    config.pool.idle_timeout = Duration::from_secs(2); // looked after four times a second
    let several_looks = Duration::from_millis(800);
    let db = connect(config).await;
    let warnings = || log.with("nearly exhausted");
    let mut held: Vec<_> = (0..3).map(|_| Holding::write(&db)).chain((0..5).map(|_| Holding::read(&db))).collect();
    settles_at(&db, 8).await;
    sleep(several_looks).await;
    assert!(warnings().is_empty(), "80 % is not more than 80 %");

    held.push(Holding::read(&db));
    until("the warning is logged", Duration::from_secs(2), async || !warnings().is_empty()).await;
    let warning = &warnings()[0];
    for part in ["WARN", "in_use=9", "max=10", "90 %", "pool.max"] {
        assert!(warning.contains(part), "{part} in {warning}");
    }
    // Around the limit nothing more is said.
    held.pop().unwrap().end().await;
    sleep(several_looks).await;
    held.push(Holding::read(&db));
    settles_at(&db, 9).await;
    sleep(several_looks).await;
    assert_eq!((warnings().len(), log.with("has room again").len()), (1, 0), "{}", log.text());

    for _ in 0..3 {
        held.pop().unwrap().end().await;
    }
    until("it is withdrawn", Duration::from_secs(2), async || log.with("has room again").len() == 1).await;
    held.extend((0..3).map(|_| Holding::read(&db)));
    until("it is said again", Duration::from_secs(2), async || warnings().len() == 2).await;
}

/// 4.4: a server that lets nobody in is asked at growing intervals, one attempt at a time, and found again.
#[tokio::test]
async fn r04_4_failed_attempts_back_off_exponentially() {
    let defaults = Config::default().pool;
    assert_eq!((defaults.backoff_initial, defaults.backoff_max), (Duration::from_secs(1), Duration::from_secs(30)));
    let (log, _guard) = Log::keep();
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    (config.pool.backoff_initial, config.pool.backoff_max) = (Duration::from_millis(200), Duration::from_millis(1500));
    // The pool's own waits, without a circuit before them or a call that waits with it.
    (config.breaker.enabled, config.retry.attempts, config.failover.wait_limit) = (false, 0, 0);
    let db = connect(config).await;
    let admin = admin(&cluster).await;
    admin.execute("ALTER DATABASE app ALLOW_CONNECTIONS false", &[]).await.unwrap();
    let ended = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {POOLED}");
    admin.execute(&ended, &[]).await.unwrap();

    let failures = || log.with("cannot connect").into_iter().filter(|l| l.contains("lane=read")).collect::<Vec<_>>();
    let mut seen: Vec<Instant> = Vec::new();
    until("six attempts", Duration::from_secs(20), async || {
        seen.resize(failures().len(), Instant::now());
        seen.len() >= 6
    })
    .await;
    let gaps: Vec<f64> = seen.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    for (gap, full) in gaps.iter().zip([0.2, 0.4, 0.8, 1.5, 1.5]) {
        assert!(*gap > full / 2.0 - 0.05 && *gap < full + 0.3, "half to all of {full} s: {gaps:?}");
    }
    for (i, line) in failures().iter().take(6).enumerate() {
        let parts = [&format!("failures={}", i + 1), "retry_in=", "not currently accepting connections"];
        assert!(parts.iter().all(|part| line.contains(*part)), "{line}");
    }
    let began = Instant::now();
    let refusal = Things { db: db.clone() }.value(1).await.unwrap_err().to_string();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(
        refusal.contains("not currently accepting connections") && refusal.contains("next attempt in"),
        "{refusal}"
    );

    admin.execute("ALTER DATABASE app ALLOW_CONNECTIONS true", &[]).await.unwrap();
    until("the minimum is open again", Duration::from_secs(3), async || session_count(&cluster).await == 10).await;
    Things { db }.value(1).await.unwrap();
    assert!(!log.with("connected again").is_empty());
}

/// 4.4: a stopped server is left in peace by the pools, and used again soon after it is back.
#[tokio::test]
async fn r04_4_a_stopped_server_is_not_hammered_and_found_again() {
    let (log, _guard) = Log::keep();
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    (config.retry.attempts, config.failover.wait_limit) = (0, 0);
    let db = connect(config).await;
    let things = Things { db: db.clone() };
    cluster.primary().stop(Shutdown::Fast).await.unwrap();
    let stopped = Instant::now();
    let mut calls = 0;
    while stopped.elapsed() < Duration::from_secs(4) {
        let began = Instant::now();
        things.value(1).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        calls += 1;
        sleep(Duration::from_millis(5)).await;
    }
    let attempts = log.with("cannot connect");
    assert!(calls > 100 && attempts.len() <= 9, "three lanes, three attempts each: {attempts:#?}");
    cluster.primary().start().await.unwrap();
    until("calls are served again", Duration::from_secs(3), async || things.value(1).await.is_ok()).await;
    until("the minimum is open again", Duration::from_secs(3), async || session_count(&cluster).await == 10).await;
}

/// 4.5: the minimum is there before the first call, on every node.
#[tokio::test]
async fn r04_5_the_minimum_is_open_before_the_first_call() {
    let cluster = cluster(3).await;
    let db = connect(config(&cluster)).await;
    assert_eq!(db.status().connections.open, 10);
    let open = sessions(&cluster).await;
    assert_eq!(open.values().sum::<i64>(), 10, "{open:?}");
    for node in cluster.nodes() {
        assert!(open.contains_key(&(node.name().to_owned(), "read".to_owned())), "{open:?}");
    }
    for lane in ["write", "critical"] {
        assert!(open.contains_key(&("primary".to_owned(), lane.to_owned())), "{open:?}");
    }
    assert!(db.status().methods.is_empty());
}
