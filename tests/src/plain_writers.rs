//! Writers that know nothing of dbopt: they write wherever a server lets them, and remember what was acknowledged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use dbopt_diesel::dev::{Cluster, Node};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Client, NoTls};

/// How long a statement may take before it counts as not acknowledged.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long connecting may take: nobody waits for a frozen server while others take writes.
const CONNECTING: Duration = Duration::from_millis(500);

/// An acknowledged write.
#[derive(Debug, Clone, Copy)]
pub struct Acknowledged {
    /// Its number.
    pub id: i64,
    /// The node, by its place in the cluster.
    pub node: usize,
    /// When it was acknowledged.
    pub at: Instant,
}

/// Writers at work.
#[derive(Debug)]
pub struct Writers {
    history: Arc<Mutex<Vec<Acknowledged>>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Writers {
    /// So many, on all nodes of the cluster, once its journal is made.
    pub async fn start(cluster: &Cluster, writers: usize) -> Writers {
        let primary = cluster.current_primary().await.expect("a primary");
        primary.execute("CREATE TABLE IF NOT EXISTS journal (id bigint PRIMARY KEY)").await.expect("the journal");
        let urls: Arc<Vec<String>> = Arc::new(cluster.nodes().iter().map(Node::direct_url).collect());
        let (history, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let next = Arc::new(AtomicI64::new(0));
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            let (urls, history, stop, next) = (urls.clone(), history.clone(), stop.clone(), next.clone());
            tasks.spawn(async move {
                let mut node = writer % urls.len();
                while !stop.load(Ordering::Relaxed) {
                    if let Some(client) = connect(&urls[node]).await {
                        while !stop.load(Ordering::Relaxed) {
                            let id = next.fetch_add(1, Ordering::Relaxed);
                            let insert = format!("INSERT INTO journal VALUES ({id})");
                            let Ok(Ok(_)) = timeout(PATIENCE, client.batch_execute(&insert)).await else { break };
                            history.lock().push(Acknowledged { id, node, at: Instant::now() });
                            sleep(Duration::from_millis(5)).await;
                        }
                    }
                    node = (node + 1) % urls.len();
                    sleep(Duration::from_millis(10)).await;
                }
            });
        }
        Writers { history, stop, tasks }
    }

    /// How many writes were acknowledged by this node after `since`.
    pub fn acknowledged_by(&self, node: usize, since: Instant) -> usize {
        self.history.lock().iter().filter(|write| write.node == node && write.at > since).count()
    }

    /// How many writes were acknowledged.
    pub fn count(&self) -> usize {
        self.history.lock().len()
    }

    /// How long from `since` until the first write that another node than `node` acknowledged.
    pub fn outage(&self, node: usize, since: Instant) -> Option<Duration> {
        let history = self.history.lock();
        let first = history.iter().filter(|write| write.node != node && write.at > since).map(|write| write.at).min();
        first.map(|at| at - since)
    }

    /// Ends them, and returns the acknowledged writes that the primary does not have.
    pub async fn lost(mut self, primary: &Node) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        let text = primary.query_text("SELECT string_agg(id::text, ',') FROM journal").await.expect("the journal");
        let there: BTreeSet<i64> = text.unwrap_or_default().split(',').filter_map(|id| id.parse().ok()).collect();
        self.history.lock().iter().filter(|write| !there.contains(&write.id)).copied().collect()
    }
}

/// A session on a server that takes writes.
async fn connect(url: &str) -> Option<Client> {
    let (client, connection) = timeout(CONNECTING, tokio_postgres::connect(url, NoTls)).await.ok()?.ok()?;
    tokio::spawn(connection);
    let sql = "SELECT NOT pg_is_in_recovery() AND current_setting('default_transaction_read_only') = 'off'";
    let row = timeout(CONNECTING, client.query_one(sql, &[])).await.ok()?.ok()?;
    row.get::<_, bool>(0).then_some(client)
}
