//! R9 on real servers: which replica serves the next read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dbopt_diesel::core::cluster::{Asked, Cpu, HostSample, HostSource, Told};
use dbopt_diesel::core::route::balance::NodeBalance;
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use dbopt_diesel::{Error, ErrorKind};
use dbopt_tests::{Things, calls, cluster, config, connect, prepared, until};
use tokio::task::{JoinHandle, JoinSet};

/// The primary, three replicas that follow it, and one that follows the first of them.
async fn cascading() -> Cluster {
    prepared(Cluster::builder().replicas(4).cascade(4, 1).redis(false)).await
}

fn balance(things: &Things, node: &str) -> NodeBalance {
    let status = things.db.status();
    let node = status.nodes.iter().find(|n| &*n.name == node).unwrap();
    node.balance.expect("it is a replica")
}

/// Readers that go on until told to stop.
struct Readers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    all: Vec<JoinHandle<Vec<String>>>,
}

impl Readers {
    fn start(things: &Things, count: usize) -> Readers {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let reader = |_| {
            let (things, stop, done) = (things.clone(), stop.clone(), done.clone());
            tokio::spawn(async move {
                let mut errors = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = things.read_port().await {
                        errors.push(error.to_string());
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                errors
            })
        };
        Readers { all: (0..count).map(reader).collect(), stop, done }
    }

    async fn go_on(&self, n: u64) {
        let target = self.done.load(Ordering::Relaxed) + n;
        until("the readers go on", Duration::from_secs(60), async || self.done.load(Ordering::Relaxed) >= target).await;
    }

    /// Which share of the next `n` reads each node gets.
    async fn shares(&self, things: &Things, n: u64) -> BTreeMap<String, f64> {
        let before = calls(&things.db, "read");
        self.go_on(n).await;
        let after = calls(&things.db, "read");
        let new = |node: &String| (after[node] - before.get(node).copied().unwrap_or(0)) as f64;
        let all: f64 = after.keys().map(new).sum();
        after.keys().map(|node| (node.clone(), new(node) / all)).collect()
    }

    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut errors = Vec::new();
        for reader in self.all {
            errors.append(&mut reader.await.unwrap());
        }
        errors
    }
}

/// 9.1: each of four replicas gets reads, the one at the end of a cascade, too, and the primary none; of three, when one is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r09_1_reads_are_spread_over_all_healthy_replicas() {
    let cluster = cascading().await;
    let things = Things { db: connect(config(&cluster)).await };
    let readers = Readers::start(&things, 16);
    let shares = readers.shares(&things, 4000).await;
    assert_eq!(shares.len(), 4, "{shares:?}");
    assert!(shares.values().all(|share| *share > 0.08) && !shares.contains_key("primary"), "{shares:?}");
    cluster.replica(2).kill().await.unwrap();
    until("it is noticed", Duration::from_secs(10), async || balance(&things, "replica-2").weight == 0.0).await;
    let shares = readers.shares(&things, 2000).await;
    assert_eq!(shares["replica-2"], 0.0, "{shares:?}");
    assert!(!shares.contains_key("primary"), "{shares:?}");
    assert_eq!(readers.stop().await, Vec::<String>::new());
}

/// 9.1: what was killed or frozen comes back once it has caught up, and little by little; no caller sees an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r09_1_a_replica_that_returns_begins_with_a_part_of_its_reads() {
    let cluster = cascading().await;
    let mut config = config(&cluster);
    config.routing.slow_start = Duration::from_secs(4);
    config.routing.max_lag = Duration::from_secs(2);
    let max_lag = config.routing.max_lag.as_secs_f64();
    let things = Things { db: connect(config).await };
    let readers = Readers::start(&things, 16);
    for frozen in [false, true] {
        readers.go_on(300).await;
        match frozen {
            false => cluster.replica(2).kill().await.unwrap(),
            true => cluster.replica(2).freeze().await.unwrap(),
        }
        until("it is left", Duration::from_secs(15), async || balance(&things, "replica-2").weight == 0.0).await;
        for value in 0..50 {
            things.set(value, 1).await.unwrap();
        }
        match frozen {
            false => cluster.replica(2).start().await.unwrap(),
            true => cluster.replica(2).thaw().await.unwrap(),
        }
        let (mut value, mut first) = (0, None);
        until("it serves again", Duration::from_secs(30), async || {
            value += 1;
            things.set(0, value).await.unwrap();
            let status = things.db.status();
            let node = status.nodes.iter().find(|n| &*n.name == "replica-2").unwrap();
            first = node.balance.filter(|balance| balance.weight > 0.0).zip(Some(node.lag_seconds));
            first.is_some()
        })
        .await;
        let (balance, lag) = first.unwrap();
        assert!(balance.weight < 0.6 * balance.capacity, "it begins with a part: {balance:?}");
        assert!(lag.is_some_and(|lag| lag <= max_lag / 2.0), "it has caught up: {lag:?}");
        until("it has its full part", Duration::from_secs(20), async || {
            self::balance(&things, "replica-2").factors.ramp == 1.0
        })
        .await;
        let shares = readers.shares(&things, 2000).await;
        assert!(shares["replica-2"] > 0.05, "{shares:?}");
    }
    assert_eq!(readers.stop().await, Vec::<String>::new());
}

/// 9.2: by capacity: reads, and connections for them.
#[tokio::test]
async fn r09_2_a_replica_of_twice_the_weight_gets_twice_the_reads() {
    let cluster = cluster(3).await;
    let mut config = config(&cluster);
    for (node, weight) in config.database.nodes.iter_mut().zip([1.0, 3.0, 2.0, 1.0]) {
        node.weight = weight;
    }
    let things = Things { db: connect(config).await };
    for _ in 0..600 {
        things.read_port().await.unwrap();
    }
    let calls = calls(&things.db, "read");
    for (node, share) in [("replica-1", 300.0), ("replica-2", 200.0), ("replica-3", 100.0)] {
        assert!((calls[node] as f64 - share).abs() < share * 0.3, "{calls:?}");
    }
    assert_eq!(calls.len(), 3);
    let status = things.db.status();
    let most = |node: usize| status.nodes[node].pools.iter().find(|p| p.lane == "read").unwrap().max;
    assert!(most(1) > most(2) && most(2) > most(3), "{} {} {}", most(1), most(2), most(3));
}

/// Tells how much of replica 1's processors is in use, in percent.
struct Dial(Arc<AtomicU64>);

impl HostSource for Dial {
    fn read<'a>(&'a self, asked: Asked<'a>) -> Told<'a> {
        let share = if asked.node == "replica-1" { self.0.load(Ordering::Relaxed) as f64 / 100.0 } else { 0.3 };
        Box::pin(async move { Ok(HostSample { cpu: Some(Cpu::Share(share)), ..HostSample::default() }) })
    }
}

/// 9.3: at 80 % a replica gets less, until it is below 70 % again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r09_3_a_replica_at_80_percent_gets_less() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let cluster = cluster(2).await;
    let mut config = config(&cluster);
    (config.cluster.host.interval, config.cluster.host.timeout) =
        (Duration::from_millis(500), Duration::from_millis(500));
    let dial = Arc::new(AtomicU64::new(79));
    let db = Db::builder(config).host_source(Dial(dial.clone())).connect().await.unwrap();
    let things = Things { db };
    let factor = || balance(&things, "replica-1").factors.cpu;
    let shows = |percent: u64| {
        let things = &things;
        async move {
            let told = async || dbopt_tests::node(&things.db, "replica-1").host.cpu == Some(percent as f64 / 100.0);
            until("the dial is read", PATIENCE, told).await;
        }
    };
    let share = async || {
        let before = calls(&things.db, "read").get("replica-1").copied().unwrap_or(0);
        for _ in 0..840 {
            things.read_port().await.unwrap();
        }
        (calls(&things.db, "read")["replica-1"] - before) as f64 / 840.0
    };
    shows(79).await;
    assert_eq!(factor(), 1.0);
    dial.store(80, Ordering::Relaxed);
    until("it counts as hot", PATIENCE, async || factor() < 0.75).await;
    let at_80 = share().await;
    assert!((0.3..0.47).contains(&at_80), "0.7 to 1: {at_80}");
    dial.store(95, Ordering::Relaxed);
    until("it counts as hotter", PATIENCE, async || factor() < 0.3).await;
    let at_95 = share().await;
    assert!(at_95 < 0.3, "0.25 to 1: {at_95}");
    dial.store(75, Ordering::Relaxed);
    shows(75).await;
    until("it gets more again", PATIENCE, async || factor() > 0.6).await;
    assert!(factor() < 1.0, "it is not cool yet");
    dial.store(69, Ordering::Relaxed);
    until("it is cool", PATIENCE, async || factor() == 1.0).await;
    dial.store(75, Ordering::Relaxed);
    shows(75).await;
    assert_eq!(factor(), 1.0, "not hot again below 80");
}

/// 9.4: a replica that is 300 ms away gets next to nothing, is measured all the same, and has its part again when it is near.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r09_4_a_slow_replica_is_left_for_faster_ones() {
    let cluster = prepared(Cluster::builder().replicas(3).redis(false).proxied(true)).await;
    let things = Things { db: connect(config(&cluster)).await };
    let readers = Readers::start(&things, 8);
    readers.go_on(2000).await;
    let slow = cluster.replica(2).proxy().unwrap();
    slow.delay(Duration::from_millis(150));
    until("it is found slow", Duration::from_secs(10), async || balance(&things, "replica-2").factors.latency < 0.02)
        .await;
    let shares = readers.shares(&things, 5000).await;
    assert!(shares["replica-2"] < 0.01, "{shares:?}");
    assert!(shares["replica-1"] > 0.25 && shares["replica-3"] > 0.25, "{shares:?}");
    let asked = calls(&things.db, "read")["replica-2"];
    until("it is measured again", Duration::from_secs(30), async || calls(&things.db, "read")["replica-2"] > asked)
        .await;
    slow.delay(Duration::ZERO);
    until("it is found fast", Duration::from_secs(90), async || balance(&things, "replica-2").factors.latency > 0.7)
        .await;
    let shares = readers.shares(&things, 2000).await;
    assert!(shares["replica-2"] > 0.1, "{shares:?}");
    assert_eq!(readers.stop().await, Vec::<String>::new());
}

/// 9.5: all replicas are gone, and the primary serves reads without an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r09_5_without_replicas_the_primary_serves_reads() {
    let cluster = cluster(3).await;
    let things = Things { db: connect(config(&cluster)).await };
    let readers = Readers::start(&things, 16);
    readers.go_on(300).await;
    for replica in cluster.replicas() {
        replica.kill().await.unwrap();
    }
    until("they are left", Duration::from_secs(10), async || {
        cluster.replicas().iter().all(|replica| balance(&things, replica.name()).weight == 0.0)
    })
    .await;
    let shares = readers.shares(&things, 1000).await;
    assert_eq!(shares["primary"], 1.0, "{shares:?}");
    cluster.replica(1).start().await.unwrap();
    until("one is back", Duration::from_secs(15), async || balance(&things, "replica-1").weight > 0.0).await;
    // Its connections are opened by the first who come.
    readers.go_on(500).await;
    let shares = readers.shares(&things, 1000).await;
    assert!(shares["primary"] < 0.1, "{shares:?}");
    assert_eq!(readers.stop().await, Vec::<String>::new());
}

/// 9.5: a flood of reads that belong on replicas takes a part of the primary only. What waits too long is refused and told when to come back;
/// writes, critical calls, reads of one's own writes and reads that are meant for the primary go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r09_5_a_flood_in_place_of_replicas_is_shed_and_the_rest_goes_on() {
    let cluster = cluster(1).await;
    let mut config = config(&cluster);
    config.pool.max = 30;
    config.pool.acquire_timeout = Duration::from_secs(2);
    let things = Things { db: connect(config).await };
    cluster.replica(1).kill().await.unwrap();
    until("it is left", Duration::from_secs(10), async || balance(&things, "replica-1").weight == 0.0).await;
    let mut flood = JoinSet::new();
    for _ in 0..200 {
        let things = things.clone();
        flood.spawn(async move { things.slow_read(0.5).await });
    }
    until("they wait", Duration::from_secs(10), async || things.db.status().primary_reads.waiting > 50).await;
    let (mut most, mut others) = (0, 0);
    let mut results = Vec::new();
    while let Some(result) = {
        most = most.max(things.db.status().primary_reads.running);
        let in_flood = flood.join_next();
        let other = async {
            things.set(1, others).await.expect("a write");
            things.critical_port().await.expect("a critical call");
            things.primary_read_port().await.expect("a read that is meant for the primary");
            let own = Context::user("alice").scope(async {
                things.set(2, others).await?;
                things.value(2).await
            });
            assert_eq!(own.await.expect("a read of an own write"), Some(others));
        };
        let (result, ()) = tokio::join!(in_flood, other);
        others += 1;
        result
    } {
        results.push(result.unwrap());
    }
    // 30 connections, of which 18 are for reads.
    assert_eq!(most, 9);
    let refused: Vec<ErrorKind> =
        results.iter().filter_map(|r| Some(Error::of(r.as_ref().err()?).expect("dbopt's").kind().clone())).collect();
    let served = results.iter().filter(|r| r.is_ok()).count();
    println!("{served} served, {} refused, {others} others served meanwhile", refused.len());
    assert!(served >= 18 && refused.len() >= 50, "{served} served, {} refused", refused.len());
    for error in &refused {
        assert!(error.retry_after().is_some() && error.is_retryable(), "{error}");
        assert!(error.to_string().contains("routing.primary_reads"), "{error}");
    }
    assert_eq!(things.db.status().primary_reads.shed, refused.len() as u64);
}
