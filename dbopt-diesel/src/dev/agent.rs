//! Brings a node of the local cluster back as a replica, for a coordinator.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::cluster::Cluster;
use super::error::DevError;
use super::node::{Node, Shutdown};
use super::process::Program;
use super::reuse;
use crate::supervise::{AgentError, Hands, NodeAgent, Rejoin, Way, bring_back};

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

    async fn carry_out(&self, order: &Rejoin) -> Result<Way, AgentError> {
        let unknown = || DevError::Invalid(format!("{}: no node of this cluster", order.node));
        let node = self.cluster.node(&order.node).ok_or_else(unknown)?;
        let leader = self.cluster.nodes().iter().find(|other| other.port == order.leader.port).ok_or_else(unknown)?;
        bring_back(&AtWork { node, leader }, order).await
    }
}

/// What is done for one order.
struct AtWork<'a> {
    node: &'a Node,
    leader: &'a Node,
}

impl Hands for AtWork<'_> {
    fn data(&self) -> PathBuf {
        self.node.data_dir()
    }

    async fn is_promoted(&self) -> bool {
        self.node.is_running() && self.node.is_primary().await.unwrap_or(true)
    }

    async fn leads(&self) -> Result<bool, AgentError> {
        Ok(self.leader.is_primary().await?)
    }

    async fn stop(&self) -> Result<(), AgentError> {
        if timeout(STOPPING, self.node.stop(Shutdown::Fast)).await.is_err() {
            self.node.kill().await?;
        }
        Ok(())
    }

    async fn start(&self) -> Result<(), AgentError> {
        Ok(self.node.start().await?)
    }

    async fn streams(&self, patience: Duration) -> Result<(), AgentError> {
        Ok(self.node.wait_streaming(patience).await?)
    }

    async fn checkpoint(&self) -> Result<(), AgentError> {
        Ok(self.leader.execute("CHECKPOINT").await?)
    }

    async fn rewind(&self) -> Result<(), AgentError> {
        let shared = &self.node.shared;
        let home = shared.dir.join(self.node.name());
        let program =
            Program::new("pg_rewind", shared.binaries.tool("pg_rewind"), home.clone(), home.join("rewind.log"));
        let source = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.leader.port);
        let mut program = program
            .args([format!("--source-server={source}"), "--no-sync".to_owned()])
            .args(["--target-pgdata".as_ref(), self.node.data_dir().as_os_str()]);
        if let Some(password) = &shared.password {
            program = program.env("PGPASSWORD", password);
        }
        Ok(program.run(&shared.account).await?)
    }

    async fn copy(&self, to: &Path) -> Result<(), AgentError> {
        Ok(reuse::copy_running(self.leader, self.node, to).await?)
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), AgentError> {
        Ok(self.node.shared.account.write(path, text)?)
    }
}

impl NodeAgent for LocalAgent {
    fn reaches(&self, node: &str) -> bool {
        self.cluster.node(node).is_some()
    }

    fn rejoin(&self, order: Rejoin) -> Pin<Box<dyn Future<Output = Result<Way, AgentError>> + Send + '_>> {
        Box::pin(async move { self.carry_out(&order).await })
    }
}
