//! R3 on real servers: where calls run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::time::Duration;

use dbopt_diesel::core::route::balance::Policy;
use dbopt_diesel::dev::Cluster;
use dbopt_tests::{Things, calls, cluster, config, connect, sessions, until};
use tokio::time::{Instant, timeout};

async fn things(cluster: &Cluster) -> Things {
    Things { db: connect(config(cluster)).await }
}

fn port(cluster: &Cluster, node: &str) -> i32 {
    cluster.node(node).unwrap().port().into()
}

/// Writes without pause until the lag of `node` satisfies `enough`, as the status tells it.
async fn write_until_lag(things: &Things, node: &str, enough: impl Fn(f64) -> bool) {
    let mut value = 0;
    until("the lag is noticed", Duration::from_secs(30), async || {
        value += 1;
        things.set(0, value).await.unwrap();
        let status = things.db.status();
        let lag = status.nodes.iter().find(|n| &*n.name == node).and_then(|n| n.lag_seconds);
        lag.is_some_and(&enough)
    })
    .await;
}

/// 3.1: every write runs on the primary, whatever the replicas do.
#[tokio::test]
async fn r03_1_all_writes_go_to_the_primary() {
    let cluster = cluster(3).await;
    let things = things(&cluster).await;
    for _ in 0..30 {
        assert_eq!(things.write_port().await.unwrap(), port(&cluster, "primary"));
    }
    cluster.replica(1).kill().await.unwrap();
    cluster.replica(2).freeze().await.unwrap();
    for _ in 0..30 {
        assert_eq!(things.write_port().await.unwrap(), port(&cluster, "primary"));
    }
    assert_eq!(calls(&things.db, "write"), [("primary".into(), 60)].into());
}

/// 3.1: a write that is let loose on a standby is an error, not a silent success elsewhere.
#[tokio::test]
async fn r03_1_a_node_that_is_no_primary_takes_no_write() {
    let cluster = cluster(1).await;
    let only_replica = dbopt_tests::named([("replica-1", cluster.replica(1).url())]);
    let things = Things { db: connect(only_replica).await };
    let error = things.write_port().await.unwrap_err().to_string();
    assert!(error.contains("no connection for `Things::write_port`"), "{error}");
    assert_eq!(things.read_port().await.unwrap(), port(&cluster, "replica-1"));
}

/// 3.2: reads run on replicas only; in turn, as long as nobody compares the replicas.
#[tokio::test]
async fn r03_2_all_reads_go_to_replicas() {
    let cluster = cluster(3).await;
    let mut config = config(&cluster);
    config.routing.balance = Policy::RoundRobin;
    let things = Things { db: connect(config).await };
    for _ in 0..300 {
        assert_ne!(things.read_port().await.unwrap(), port(&cluster, "primary"));
    }
    let each = ["replica-1", "replica-2", "replica-3"].map(|name| (name.into(), 100));
    assert_eq!(calls(&things.db, "read"), each.into());
}

/// 3.2: with one database and no replica, reads run there, and still in read-only sessions.
#[tokio::test]
async fn r03_2_without_replicas_reads_run_on_the_primary() {
    let cluster = cluster(0).await;
    let things = things(&cluster).await;
    assert_eq!(things.read_port().await.unwrap(), port(&cluster, "primary"));
    assert_eq!(things.primary_read_port().await.unwrap(), port(&cluster, "primary"));
}

/// 3.3: critical calls have connections of their own: writes that take every other one do not hold them up.
#[tokio::test]
async fn r03_3_critical_calls_use_reserved_connections() {
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    config.pool.max = 10;
    config.pool.acquire_timeout = Duration::from_secs(60);
    let things = Things { db: connect(config).await };
    let crowd: Vec<_> = (0..30)
        .map(|_| {
            let things = things.clone();
            tokio::spawn(async move { things.slow_write(1.0).await })
        })
        .collect();
    until("writes wait in their queue", Duration::from_secs(5), async || {
        let status = things.db.status();
        status.nodes[0].pools.iter().any(|p| p.lane == "write" && p.waiting > 10)
    })
    .await;
    let start = Instant::now();
    assert_eq!(things.critical_port().await.unwrap(), port(&cluster, "primary"));
    assert_eq!(things.critical_read_port().await.unwrap(), port(&cluster, "primary"));
    assert!(start.elapsed() < Duration::from_millis(500), "a critical call waited {:?}", start.elapsed());
    assert_eq!(calls(&things.db, "critical"), [("primary".into(), 2)].into());
    assert!(sessions(&cluster).await[&("primary".into(), "critical".into())] >= 1);
    for write in crowd {
        write.await.unwrap().unwrap();
    }
}

/// 3.3: the reserved connections serve critical reads read-only and critical writes read-write, in any order.
#[tokio::test]
async fn r03_3_a_critical_read_cannot_write() {
    let cluster = cluster(0).await;
    let things = things(&cluster).await;
    for _ in 0..3 {
        assert_eq!(things.critical_set(1, 5).await.unwrap(), 1);
        let error = things.critical_read_that_writes(1, 6).await.unwrap_err().to_string();
        assert!(error.contains("is marked #[read] but its body writes"), "{error}");
    }
    assert_eq!(things.value(1).await.unwrap(), Some(5));
}

/// 3.4: with the default limit of 5 s, reads leave a replica that is further behind and come back when it has caught up.
#[tokio::test]
async fn r03_4_lag_over_5_s_sends_reads_to_the_primary() {
    let cluster = cluster(1).await;
    let things = things(&cluster).await;
    assert_eq!(things.read_port().await.unwrap(), port(&cluster, "replica-1"));
    cluster.replica(1).pause_replay().await.unwrap();
    write_until_lag(&things, "replica-1", |lag| lag > 1.0).await;
    assert_eq!(things.read_port().await.unwrap(), port(&cluster, "replica-1"), "below the limit it still serves");
    assert_eq!(things.fresh_port().await.unwrap(), port(&cluster, "primary"), "a method's own limit is stricter");
    write_until_lag(&things, "replica-1", |lag| lag > 5.0).await;
    assert_eq!(things.read_port().await.unwrap(), port(&cluster, "primary"));
    cluster.replica(1).resume_replay().await.unwrap();
    until("reads come back", Duration::from_secs(10), async || {
        things.read_port().await.unwrap() == port(&cluster, "replica-1")
    })
    .await;
}

/// 3.4: an idle primary makes no lag, however long nothing is written.
#[tokio::test]
async fn r03_4_an_idle_primary_makes_no_lag() {
    let cluster = cluster(1).await;
    let mut config = config(&cluster);
    config.routing.max_lag = Duration::from_millis(300);
    config.cluster.probe_interval = Duration::from_millis(100);
    let things = Things { db: connect(config).await };
    things.set(1, 1).await.unwrap();
    let end = Instant::now() + Duration::from_secs(3);
    until("three quiet seconds", Duration::from_secs(10), async || {
        let at = things.read_port().await.unwrap();
        assert_eq!(at, port(&cluster, "replica-1"));
        Instant::now() > end
    })
    .await;
}

/// 3.5: reads and writes have pools of their own: reads that take every connection of theirs do not hold up a write.
#[tokio::test]
async fn r03_5_reads_and_writes_have_separate_pools() {
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    config.pool.max = 10;
    config.pool.acquire_timeout = Duration::from_secs(60);
    let things = Things { db: connect(config).await };
    let crowd: Vec<_> = (0..30)
        .map(|_| {
            let things = things.clone();
            tokio::spawn(async move { things.slow_read(1.0).await })
        })
        .collect();
    until("reads wait in their queue", Duration::from_secs(5), async || {
        things.db.status().nodes[0].pools.iter().any(|p| p.lane == "read" && p.waiting > 10)
    })
    .await;
    let write = timeout(Duration::from_millis(500), things.write_port()).await;
    assert_eq!(write.expect("the write waits for no read").unwrap(), port(&cluster, "primary"));
    let lanes: BTreeSet<String> = sessions(&cluster).await.into_keys().map(|(_, lane)| lane).collect();
    assert_eq!(lanes, ["critical", "read", "write"].map(String::from).into());
    for read in crowd {
        read.await.unwrap().unwrap();
    }
}
