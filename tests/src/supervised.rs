//! A local cluster under a coordinator.

use std::time::Duration;

use dbopt_diesel::Config;
use dbopt_diesel::dev::{Cluster, Node};
use dbopt_diesel::supervise::Supervisor;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::named;

/// Criterion 6.5 says nothing of the time; a node is back after this, or never.
pub const REJOIN: Duration = Duration::from_secs(60);

/// A coordinator for all of its nodes.
pub fn supervisor(cluster: &Cluster, synchronous: bool) -> Supervisor {
    supervisor_with(cluster, |config| config.supervise.synchronous = synchronous)
}

/// The same with other settings.
pub fn supervisor_with(cluster: &Cluster, change: impl FnOnce(&mut Config)) -> Supervisor {
    let mut config = named(cluster.nodes().iter().map(|node| (node.name(), node.url())));
    config.supervise.rejoin_after = Duration::from_secs(3);
    change(&mut config);
    let supervisor = Supervisor::new(&config).unwrap();
    cluster.nodes().iter().fold(supervisor, |all, node| all.place(node.name(), "127.0.0.1", node.port()))
}

/// One at work, until it is dropped.
#[derive(Debug)]
pub struct AtWork(JoinHandle<()>);

impl AtWork {
    /// From now on.
    pub fn begin(mut supervisor: Supervisor) -> AtWork {
        AtWork(tokio::spawn(async move { supervisor.run().await }))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The timeline that the node writes, or receives.
pub async fn timeline(node: &Node) -> u32 {
    let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming'), 0) \
               ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END";
    node.query_text(sql).await.ok().flatten().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// How many nodes are primaries and take writes.
pub async fn open_primaries(cluster: &Cluster) -> Vec<usize> {
    let mut found = Vec::new();
    for (i, node) in cluster.nodes().iter().enumerate().filter(|(_, node)| node.is_running()) {
        let sql = "SELECT NOT pg_is_in_recovery() AND current_setting('default_transaction_read_only') = 'off'";
        if node.query_text(sql).await.ok().flatten().as_deref() == Some("t") {
            found.push(i);
        }
    }
    found
}

/// All nodes are on one timeline: one primary, and everybody streams from it.
pub async fn whole(cluster: &Cluster, wanted: u32) {
    let give_up = Instant::now() + REJOIN;
    loop {
        let mut there = true;
        for node in cluster.nodes() {
            there &= node.is_running() && timeline(node).await == wanted;
        }
        if there && open_primaries(cluster).await.len() == 1 {
            return;
        }
        assert!(Instant::now() < give_up, "not all nodes are on timeline {wanted}:\n{}", shown(cluster).await);
        sleep(Duration::from_millis(50)).await;
    }
}

/// What the nodes say, for a failure.
async fn shown(cluster: &Cluster) -> String {
    let mut text = String::new();
    for node in cluster.nodes() {
        let sql = "SELECT format('%s %s %s', pg_is_in_recovery(), current_setting('primary_conninfo'), (SELECT status || received_tli FROM pg_stat_wal_receiver))";
        let told = if node.is_running() { node.query_text(sql).await.ok().flatten() } else { None };
        text += &format!("{}: timeline {} {told:?}\n", node.name(), timeline(node).await);
    }
    text
}
