//! What the tests share: a real cluster, a repository that tells where it ran, and the log.

// A test that cannot be set up has failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod advise_corpus;
pub mod alerts;
pub mod application;
pub mod crowd;
pub mod ddl;
pub mod desk;
pub mod log;
pub mod measure;
pub mod migrations;
pub mod openmetrics;
pub mod outage;
pub mod patroni;
pub mod plain_writers;
pub mod receivers;
pub mod shelf;
pub mod supervised;
pub mod things;
pub mod writers;

use std::collections::BTreeMap;
use std::time::Duration;

use dbopt_diesel::dev::{Cluster, ClusterBuilder};
use dbopt_diesel::{Config, Db};
use tokio::time::{Instant, sleep};

pub use desk::Desk;
pub use shelf::Shelf;
pub use things::Things;

/// A cluster of one primary and `replicas` replicas, without Redis, with the table of [`Things`].
pub async fn cluster(replicas: usize) -> Cluster {
    prepared(Cluster::builder().replicas(replicas).redis(false)).await
}

/// The same from a builder of the test's own.
pub async fn prepared(builder: ClusterBuilder) -> Cluster {
    let cluster = builder.start().await.expect("the local cluster starts");
    cluster.primary().execute(things::SCHEMA).await.expect("the table is made");
    cluster.wait_caught_up(Duration::from_secs(10)).await.expect("the replicas follow");
    cluster
}

/// Settings for all nodes of `cluster` under their own names.
pub fn config(cluster: &Cluster) -> Config {
    let nodes = cluster.nodes().iter().map(|node| (node.name(), node.url()));
    named(nodes)
}

/// Settings for servers with these names and URLs.
pub fn named<N: AsRef<str>>(nodes: impl IntoIterator<Item = (N, String)>) -> Config {
    let tables: String = nodes
        .into_iter()
        .map(|(name, url)| format!("[[database.nodes]]\nname = {:?}\nurl = {url:?}\n", name.as_ref()))
        .collect();
    Config::from_toml(&tables).expect("the settings are valid")
}

/// A cluster of one primary and `replicas` replicas with Redis, with the table of [`Things`].
pub async fn cluster_with_redis(replicas: usize) -> Cluster {
    prepared(Cluster::builder().replicas(replicas)).await
}

/// Settings for all nodes and the Redis of `cluster`.
pub fn cached_config(cluster: &Cluster) -> Config {
    let mut config = config(cluster);
    config.cache.redis = cluster.redis().expect("a cluster with Redis").url().as_str().into();
    // A build that is not optimised, on a machine that has other things to do, is no slow Redis.
    config.cache.timeout = Duration::from_millis(250);
    config.cache.vouch_settle = Duration::from_secs(1);
    config
}

/// A [`Shelf`] on `config`, once Redis is connected.
pub async fn shelf(config: Config) -> Shelf {
    let shelf = Shelf::new(connect(config).await);
    let connected = async || shelf.db.cache().status().redis != "down";
    until("Redis is connected", Duration::from_secs(5), connected).await;
    shelf
}

/// A database handle on `config`.
pub async fn connect(config: Config) -> Db {
    Db::connect(config).await.expect("the cluster is reachable")
}

/// Waits until `condition` holds, looking again every few milliseconds; fails with `what` after `patience`.
pub async fn until(what: &str, patience: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + patience;
    while !condition().await {
        assert!(Instant::now() < give_up, "not within {patience:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// The calls that ran on each node in `lane`, as the status tells them; nodes without any are left out.
pub fn calls(db: &Db, lane: &str) -> BTreeMap<String, u64> {
    let nodes = db.status().nodes;
    nodes.iter().map(|n| (n.name.to_string(), n.calls[lane])).filter(|(_, n)| *n > 0).collect()
}

/// What the status says of a node.
pub fn node(db: &Db, name: &str) -> dbopt_diesel::core::runtime::NodeStatus {
    db.status().nodes.into_iter().find(|node| &*node.name == name).expect("a node of this name")
}

/// Waits until a node is in this state.
pub async fn becomes(db: &Db, name: &str, state: &str, patience: Duration) {
    let give_up = Instant::now() + patience;
    while node(db, name).state.name() != state {
        assert!(Instant::now() < give_up, "not {state} within {patience:?}: {:?}", node(db, name));
        sleep(Duration::from_millis(10)).await;
    }
}

/// How many connections of the pools each node's server knows, by `application_name`.
pub async fn sessions(cluster: &Cluster) -> BTreeMap<(String, String), i64> {
    let mut all = BTreeMap::new();
    for node in cluster.nodes().iter().filter(|n| n.is_running()) {
        let sql = "SELECT coalesce(string_agg(application_name || '=' || n, ','), '') FROM (SELECT application_name, count(*) AS n \
                   FROM pg_stat_activity WHERE application_name IN ('dbopt read', 'dbopt write', 'dbopt critical') GROUP BY 1) AS x";
        let text = node.query_text(sql).await.unwrap().unwrap_or_default();
        for (name, count) in text.split(',').filter_map(|pair| pair.split_once('=')) {
            all.insert((node.name().to_owned(), name.trim_start_matches("dbopt ").to_owned()), count.parse().unwrap());
        }
    }
    all
}

/// The same, added up.
pub async fn session_count(cluster: &Cluster) -> i64 {
    sessions(cluster).await.values().sum()
}
