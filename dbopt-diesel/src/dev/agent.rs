//! Brings a node of the local cluster back as a replica, for a coordinator.

use std::future::Future;
use std::path::Path;
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
        if !leader.is_primary().await? {
            return Err(DevError::Invalid(format!("{} is no primary", leader.name())));
        }
        if timeout(STOPPING, node.stop(Shutdown::Fast)).await.is_err() {
            node.kill().await?;
        }
        let was_standby = node.data_dir().join("standby.signal").exists();
        if was_standby && self.begin(node, order).await.is_ok() {
            return Ok(());
        }
        still_wanted(node, leader).await?;
        node.stop(Shutdown::Immediate).await?;
        if rewind(node, leader).await.is_ok() && self.begin(node, order).await.is_ok() {
            return Ok(());
        }
        still_wanted(node, leader).await?;
        tracing::warn!(node = node.name(), "it could not be rewound; it is copied anew");
        node.stop(Shutdown::Immediate).await?;
        // What is there may be all that there is, should the primary be lost meanwhile.
        let (data, kept) = (node.data_dir(), node.data_dir().with_file_name("data.before"));
        remove(&kept).await?;
        std::fs::rename(&data, &kept).map_err(DevError::io(format!("set the data of {} aside", node.name())))?;
        if let Err(error) = reuse::copy_running(leader, node).await {
            remove(&data).await?;
            std::fs::rename(&kept, &data).map_err(DevError::io(format!("take back the data of {}", node.name())))?;
            return self.begin(node, order).await.and(Err(error));
        }
        self.begin(node, order).await?;
        remove(&kept).await
    }

    /// Writes whom it follows, after everything that brings the other server's settings, and starts it.
    async fn begin(&self, node: &Node, order: &Rejoin) -> Result<(), DevError> {
        let (data, account) = (node.data_dir(), &node.shared.account);
        let slot = if order.slot.is_empty() { slot_name(node.name()) } else { order.slot.clone() };
        let settings =
            format!("primary_conninfo = {}\nprimary_slot_name = {}\n", literal(&order.conninfo), literal(&slot));
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

/// Somebody else may have been at work since: nothing is done to a primary, nor by the side of one that is lost.
async fn still_wanted(node: &Node, leader: &Node) -> Result<(), DevError> {
    let promoted = node.is_running() && node.is_primary().await.unwrap_or(true);
    if promoted || !leader.is_primary().await? {
        return Err(DevError::Invalid(format!("{} is left as it is: the primary changed meanwhile", node.name())));
    }
    Ok(())
}

async fn remove(dir: &Path) -> Result<(), DevError> {
    let doing = DevError::io(format!("remove {}", dir.display()));
    let dir = dir.to_owned();
    let removed = tokio::task::spawn_blocking(move || if dir.exists() { std::fs::remove_dir_all(dir) } else { Ok(()) });
    removed.await.map_err(std::io::Error::other).and_then(std::convert::identity).map_err(doing)
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
