//! The running cluster.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};

use super::builder::ClusterBuilder;
use super::conf::identifier;
use super::error::DevError;
use super::find::Binaries;
use super::guardian::Guardian;
use super::launch::REPLICATION_PATIENCE;
use super::node::{Node, Shared};
use super::redis::Redis;

/// A primary, its replicas and Redis, for as long as this value lives.
///
/// Dropping it returns at once; the servers end and the folder goes a moment later. [`stop`](Self::stop) waits for that.
pub struct Cluster {
    /// The one that started as primary is first, and there is always one.
    pub(super) nodes: Vec<Node>,
    pub(super) redis: Option<Redis>,
    pub(super) shared: Arc<Shared>,
    /// After the servers: they are told first that nobody signals them any more.
    pub(super) guardian: Guardian,
    pub(super) started_in: Duration,
}

impl Cluster {
    /// Describes a cluster: three replicas and Redis, unless told otherwise.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// All PostgreSQL servers, the one that started as primary first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node that started as primary. After a failover another one is: see [`current_primary`](Self::current_primary).
    pub fn primary(&self) -> &Node {
        &self.nodes[0]
    }

    /// The nodes that started as replicas.
    pub fn replicas(&self) -> &[Node] {
        &self.nodes[1..]
    }

    /// Replica `number`, counted from 1.
    ///
    /// # Panics
    /// When there are fewer: a test that names a replica knows how many it started. [`node`](Self::node) asks.
    pub fn replica(&self, number: usize) -> &Node {
        assert!(
            (1..self.nodes.len()).contains(&number),
            "there is no replica {number}: {} were started",
            self.nodes.len() - 1
        );
        &self.nodes[number]
    }

    /// The node of this name: `primary`, `replica-1`, ...
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name() == name)
    }

    /// Redis, unless the cluster was built without.
    pub fn redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }

    /// The name of the database that `url()` names.
    pub fn database(&self) -> &str {
        &self.shared.database
    }

    /// How long the start took.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// The folder with all data and logs.
    pub fn dir(&self) -> &Path {
        self.guardian.dir()
    }

    /// The programs it runs, for `pg_rewind`, `psql` and the like.
    pub fn binaries(&self) -> &Binaries {
        &self.shared.binaries
    }

    /// The authority that signed the nodes' certificates, as a PEM file, in a cluster built with `tls(true)`.
    pub fn ca_certificate(&self) -> Option<&Path> {
        self.shared.authority.as_deref()
    }

    /// The node that is primary now, by asking all that run. With two of them (a stale primary that came back) the one
    /// that started later as such cannot be told by this: it returns the first in the order of [`nodes`](Self::nodes).
    pub async fn current_primary(&self) -> Option<&Node> {
        let running = self.nodes.iter().filter(|node| node.is_running());
        let answers = join_all(running.map(async |node| (node, node.is_primary().await))).await;
        answers.into_iter().find_map(|(node, answer)| matches!(answer, Ok(true)).then_some(node))
    }

    /// Waits until every running standby has applied what the primary had written when this was called.
    ///
    /// # Errors
    /// [`DevError::NotRunning`] without a primary, or the first standby's failure.
    pub async fn wait_caught_up(&self, patience: Duration) -> Result<(), DevError> {
        let primary = self.require_primary().await?;
        // The insert position, not the written one: with synchronous_commit=off a commit is ahead of what is written.
        let lsn = primary.text("postgres", "SELECT pg_current_wal_insert_lsn()").await?.unwrap_or_default();
        let standbys = self.nodes.iter().filter(|node| node.name() != primary.name() && node.is_running());
        try_join_all(standbys.map(|standby| standby.wait_replayed(&lsn, patience))).await.map(|_| ())
    }

    /// Creates an empty database, and waits a little until healthy replicas have it, too.
    ///
    /// # Errors
    /// [`DevError::NotRunning`] without a primary, [`DevError::Postgres`] when there is such a database.
    pub async fn create_database(&self, name: &str) -> Result<(), DevError> {
        self.define(&format!("CREATE DATABASE {}", identifier(name))).await
    }

    /// Creates a database as a copy of another one, to which nobody may be connected: a test's own, in a moment.
    ///
    /// # Errors
    /// Those of [`create_database`](Self::create_database); SQLSTATE 55006 while the template is in use.
    pub async fn create_database_from(&self, name: &str, template: &str) -> Result<(), DevError> {
        self.define(&format!("CREATE DATABASE {} TEMPLATE {}", identifier(name), identifier(template))).await?;
        // PostgreSQL 15 copies a sequence with the numbers that it had logged ahead for the template, and takes them without
        // logging them again: after a crash they would be given a second time. Not so after a checkpoint.
        self.require_primary().await?.rows("postgres", "CHECKPOINT").await.map(|_| ())
    }

    /// Drops a database, if it exists, and ends the sessions in it.
    ///
    /// # Errors
    /// [`DevError::NotRunning`] without a primary, [`DevError::Postgres`] when the server refuses.
    pub async fn drop_database(&self, name: &str) -> Result<(), DevError> {
        let primary = self.require_primary().await?;
        primary
            .rows("postgres", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name)))
            .await
            .map(|_| ())
    }

    /// Ends all servers and waits until they, the guardian and (unless it was named by you) the folder are gone.
    ///
    /// # Errors
    /// [`DevError::Io`] when the folder could not be removed.
    pub async fn stop(self) -> Result<(), DevError> {
        let Self { nodes, redis, guardian, .. } = self;
        let temporary = guardian.is_temporary().then(|| guardian.dir().to_owned());
        guardian.finish().await;
        drop((nodes, redis));
        match temporary {
            Some(dir) if dir.exists() => {
                let doing = format!("remove {}", dir.display());
                Err(DevError::io(doing)(std::io::ErrorKind::DirectoryNotEmpty.into()))
            }
            _ => Ok(()),
        }
    }

    async fn require_primary(&self) -> Result<&Node, DevError> {
        self.current_primary().await.ok_or_else(|| DevError::NotRunning { server: "the primary".to_owned() })
    }

    async fn define(&self, sql: &str) -> Result<(), DevError> {
        self.require_primary().await?.rows("postgres", sql).await?;
        // A replica that a test has paused, delayed or frozen must not hold this up.
        let _ = tokio::time::timeout(REPLICATION_PATIENCE, self.wait_caught_up(REPLICATION_PATIENCE)).await;
        Ok(())
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("dir", &self.dir())
            .field("nodes", &self.nodes)
            .field("redis", &self.redis)
            .finish_non_exhaustive()
    }
}
