//! Brings a node of the local cluster back as a replica, for a coordinator.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::cluster::Cluster;
use super::conf::{literal, slot_name};
use super::error::DevError;
use super::node::{Node, Shutdown};
use super::process::Program;
use super::reuse;
use crate::supervise::{AgentError, NodeAgent, Rejoin};

/// How long a node that was started may take until it streams, before the next means is tried.
const STREAMING: Duration = Duration::from_secs(15);
/// How long it has to go on streaming: one that follows the wrong history shows it for an instant, too.
const PROOF: Duration = Duration::from_millis(1200);
/// How long a running server may take to stop in order.
const STOPPING: Duration = Duration::from_secs(5);

/// Reaches the files of all nodes of a local [`Cluster`].
#[derive(Clone, Debug)]
pub struct LocalAgent {
    cluster: Arc<Cluster>,
}

impl LocalAgent {
    /// For this cluster.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        LocalAgent { cluster }
    }

    async fn bring_back(&self, order: &Rejoin) -> Result<(), DevError> {
        let unknown = || DevError::Invalid(format!("{}: no node of this cluster", order.node));
        let node = self.cluster.node(&order.node).ok_or_else(unknown)?;
        let leader = self.cluster.nodes().iter().find(|other| other.port == order.leader.port).ok_or_else(unknown)?;
        if timeout(STOPPING, node.stop(Shutdown::Fast)).await.is_err() {
            node.kill().await?;
        }
        let was_standby = node.data_dir().join("standby.signal").exists();
        if was_standby && self.begin(node, order).await.is_ok() {
            return Ok(());
        }
        node.stop(Shutdown::Immediate).await?;
        if rewind(node, leader).await.is_ok() && self.begin(node, order).await.is_ok() {
            return Ok(());
        }
        tracing::warn!(node = node.name(), "it could not be rewound; it is copied anew");
        node.stop(Shutdown::Immediate).await?;
        let data = node.data_dir();
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(data)).await;
        removed
            .map_err(std::io::Error::other)
            .and_then(std::convert::identity)
            .map_err(DevError::io(format!("remove the data of {}", node.name())))?;
        reuse::copy_running(leader, node).await?;
        self.begin(node, order).await
    }

    /// Writes whom it follows, after everything that brings the other server's settings, and starts it.
    async fn begin(&self, node: &Node, order: &Rejoin) -> Result<(), DevError> {
        let (data, account) = (node.data_dir(), &node.shared.account);
        let slot = if order.slot.is_empty() { slot_name(node.name()) } else { order.slot.clone() };
        let settings = format!(
            "primary_conninfo = {}\nprimary_slot_name = {}\n",
            literal(&order.conninfo),
            literal(&slot)
        );
        account.write(&data.join("postgresql.auto.conf"), &settings)?;
        account.write(&data.join("standby.signal"), "")?;
        // Slots of its days as a primary would hold log for nobody.
        for slot in std::fs::read_dir(data.join("pg_replslot")).into_iter().flatten().flatten() {
            std::fs::remove_dir_all(slot.path()).map_err(DevError::io("remove an old slot"))?;
        }
        node.start().await?;
        node.wait_streaming(STREAMING).await?;
        sleep(PROOF).await;
        node.wait_streaming(PROOF).await
    }
}

async fn rewind(node: &Node, leader: &Node) -> Result<(), DevError> {
    let shared = &node.shared;
    let home = shared.dir.join(node.name());
    let program = Program::new("pg_rewind", shared.binaries.tool("pg_rewind"), home.clone(), home.join("rewind.log"));
    let source = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", leader.port);
    let mut program = program
        .args([format!("--source-server={source}"), "--no-sync".to_owned()])
        .args(["--target-pgdata".as_ref(), node.data_dir().as_os_str()]);
    if let Some(password) = &shared.password {
        program = program.env("PGPASSWORD", password);
    }
    program.run(&shared.account).await
}

impl NodeAgent for LocalAgent {
    fn reaches(&self, node: &str) -> bool {
        self.cluster.node(node).is_some()
    }

    fn rejoin(&self, order: Rejoin) -> Pin<Box<dyn Future<Output = Result<(), AgentError>> + Send + '_>> {
        Box::pin(async move { self.bring_back(&order).await.map_err(Into::into) })
    }
}
