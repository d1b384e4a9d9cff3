//! R10.4: every rule there is: provoked on real servers, told to a receiver, repaired, and told to be over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use dbopt_diesel::core::alert::Rule;
use dbopt_diesel::core::failover::Place;
use dbopt_diesel::dev::{Cluster, LocalAgent};
use dbopt_diesel::supervise::{NodeAgent, Rejoin};
use dbopt_diesel::{Config, Db};
use dbopt_tests::alerts::{quick, told};
use dbopt_tests::receivers::Sink;
use dbopt_tests::{Shelf, Things, cached_config, prepared, until};
use futures_util::future::join_all;

const PATIENCE: Duration = Duration::from_secs(30);

/// A primary, two replicas and Redis, an application on them, and who is told.
struct World {
    cluster: Arc<Cluster>,
    shelf: Shelf,
    things: Things,
    sink: Sink,
}

/// Limits that a test can reach; the times are already short.
fn low(mut config: Config) -> Config {
    (config.pool.min, config.pool.max) = (6, 20);
    let alerts = &mut config.alerts;
    (alerts.pool.fire, alerts.pool.resolve) = (0.2, 0.1);
    (alerts.lag.fire, alerts.lag.resolve) = (Duration::from_millis(1000), Duration::from_millis(500));
    (alerts.unreached.fire, alerts.unreached.resolve) = (Duration::from_millis(1000), Duration::from_millis(500));
    alerts.error_rate.application = true;
    alerts.failover.shown = Duration::from_secs(2);
    config
}

impl World {
    async fn start() -> World {
        let sink = Sink::start().await;
        let cluster = Arc::new(prepared(Cluster::builder().replicas(2).proxied_replication(true)).await);
        let shelf = dbopt_tests::shelf(low(quick(cached_config(&cluster), &sink))).await;
        let things = Things { db: shelf.db.clone() };
        World { cluster, shelf, things, sink }
    }

    fn db(&self) -> &Db {
        &self.things.db
    }

    fn is_told(&self, what: &str, rule: Rule, subject: &str) -> bool {
        let line = format!("{what} {} {subject}", rule.name());
        told(&self.sink).iter().any(|told| told == line.trim_end())
    }

    /// Does `bad` until the receiver is told that this rule fires.
    async fn fires(&self, rule: Rule, subject: &str, mut bad: impl AsyncFnMut()) {
        until(&format!("{} {subject} fires", rule.name()), PATIENCE, async || {
            bad().await;
            self.is_told("firing", rule, subject)
        })
        .await;
    }

    /// Does `good` until the receiver is told that it is over.
    async fn is_over(&self, rule: Rule, subject: &str, mut good: impl AsyncFnMut()) {
        until(&format!("{} {subject} is over", rule.name()), PATIENCE, async || {
            good().await;
            self.is_told("resolved", rule, subject)
        })
        .await;
    }

    async fn a_cold_cache(&self) {
        let mut id = 1_000_000;
        let miss = async || {
            id += 1;
            self.shelf.find(id).await.unwrap();
        };
        self.fires(Rule::HitRate, "", miss).await;
        let hits = async || drop(join_all((0..20).map(|_| self.shelf.find(1))).await);
        self.is_over(Rule::HitRate, "", hits).await;
    }

    async fn slow_calls(&self) {
        // Without a pause in between, in which nothing would be in use.
        let in_a_row = async || {
            for _ in 0..8 {
                drop(self.things.slow_read(0.15).await);
            }
        };
        let slow = async || drop(join_all((0..16).map(|_| in_a_row())).await);
        self.fires(Rule::Latency, "", slow).await;
        self.fires(Rule::Pool, "", slow).await;
        self.is_over(Rule::Latency, "", async || ()).await;
        self.is_over(Rule::Pool, "", async || ()).await;
    }

    async fn failing_calls(&self) {
        let fails = || self.db().transaction(async |_| Err::<(), _>(diesel::result::Error::NotFound));
        self.fires(Rule::ErrorRate, "", async || drop(join_all((0..12).map(|_| fails())).await)).await;
        self.is_over(Rule::ErrorRate, "", async || ()).await;
    }

    async fn a_replica_that_stands_still(&self) {
        let replica = self.cluster.replica(1);
        replica.pause_replay().await.unwrap();
        let mut value = 0;
        let mut write = async || {
            value += 1;
            self.things.set(1, value).await.unwrap();
        };
        self.fires(Rule::Lag, "replica-1", &mut write).await;
        self.fires(Rule::Unreached, "replica-1", &mut write).await;
        replica.resume_replay().await.unwrap();
        self.is_over(Rule::Lag, "replica-1", &mut write).await;
        self.is_over(Rule::Unreached, "replica-1", &mut write).await;
    }

    async fn a_dead_replica(&self) {
        let replica = self.cluster.replica(2);
        replica.kill().await.unwrap();
        self.fires(Rule::Node, "replica-2", async || ()).await;
        self.fires(Rule::Replicas, "", async || ()).await;
        replica.start().await.unwrap();
        self.is_over(Rule::Node, "replica-2", async || ()).await;
        self.is_over(Rule::Replicas, "", async || ()).await;
    }

    /// It answers and receives nothing, as one does whose primary has thrown away the log that it needs.
    async fn a_replica_that_is_cut_off(&self) {
        let link = self.cluster.replica(1).link().unwrap();
        link.cut();
        self.fires(Rule::Node, "replica-1", async || ()).await;
        link.heal();
        self.is_over(Rule::Node, "replica-1", async || ()).await;
    }

    async fn a_dead_redis(&self) {
        let redis = self.cluster.redis().unwrap();
        redis.kill().await.unwrap();
        self.fires(Rule::Redis, "", async || ()).await;
        self.shelf.set(1, 1).await.unwrap();
        self.fires(Rule::Journal, "", async || ()).await;
        redis.start().await.unwrap();
        self.is_over(Rule::Redis, "", async || ()).await;
        self.is_over(Rule::Journal, "", async || ()).await;
    }

    async fn a_failover(&self) {
        self.cluster.primary().kill().await.unwrap();
        self.fires(Rule::Primary, "", async || ()).await;
        self.fires(Rule::Node, "primary", async || ()).await;
        let new = self.cluster.replica(1);
        new.query_text("SELECT pg_promote()::text").await.unwrap();
        self.is_over(Rule::Primary, "", async || ()).await;
        self.fires(Rule::Failover, "replica-1, timeline 2", async || ()).await;
        self.is_over(Rule::Failover, "replica-1, timeline 2", async || ()).await;
        for slot in ["primary", "replica_2"] {
            let create = format!("SELECT pg_create_physical_replication_slot('{slot}', true)::text");
            new.query_text(&create).await.unwrap();
        }
        let conninfo = self.conninfo("replica-2").await;
        self.cluster.replica(2).set("primary_conninfo", &conninfo).await.unwrap();
    }

    /// Where a replica finds the new primary.
    async fn conninfo(&self, replica: &str) -> String {
        let new = self.cluster.replica(1);
        let before = new.query_text("SHOW primary_conninfo").await.unwrap().unwrap();
        let other = |part: &str| match part.split_once('=') {
            Some(("port", _)) => format!("port={}", new.port()),
            Some(("application_name", _)) => format!("application_name={replica}"),
            _ => part.to_owned(),
        };
        before.split(' ').map(other).collect::<Vec<_>>().join(" ")
    }

    async fn a_second_primary(&self) {
        let old = self.cluster.primary();
        old.start().await.unwrap();
        self.fires(Rule::Stray, "primary", async || ()).await;
        let leader = Place { host: "127.0.0.1".into(), port: self.cluster.replica(1).port() };
        let conninfo = self.conninfo(old.name()).await;
        let order = Rejoin { node: old.name().into(), leader, conninfo, slot: "primary".into(), fell_behind: false };
        LocalAgent::new(self.cluster.clone()).rejoin(order).await.unwrap();
        self.is_over(Rule::Stray, "primary", async || ()).await;
    }

    /// Every rule has fired, and all is well in the end.
    async fn nothing_is_left(&self) {
        until("nothing is left", PATIENCE, async || self.db().status().alerts.is_empty()).await;
        let told = || told(&self.sink);
        let count = |what: &str| told().iter().filter(|line| line.starts_with(what)).count();
        until("every end is told", PATIENCE, async || count("resolved") == count("firing")).await;
        for rule in Rule::ALL {
            for what in ["firing", "resolved"] {
                let line = format!("{what} {}", rule.name());
                let is_of = |told: &String| *told == line || told.starts_with(&format!("{line} "));
                assert!(told().iter().any(is_of), "`{line}` is not in {:?}: a new rule needs a step here", told());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r10_4_every_rule_fires_and_is_over_on_real_servers() {
    let world = World::start().await;
    world.a_cold_cache().await;
    world.slow_calls().await;
    world.failing_calls().await;
    world.a_replica_that_stands_still().await;
    world.a_dead_replica().await;
    world.a_replica_that_is_cut_off().await;
    world.a_dead_redis().await;
    world.a_failover().await;
    world.a_second_primary().await;
    world.nothing_is_left().await;
    world.db().shutdown().await;
}
