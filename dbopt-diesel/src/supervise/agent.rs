//! Who reaches a server's files.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use dbopt_core::failover::Place;

/// Why a node could not be brought back.
pub type AgentError = Box<dyn std::error::Error + Send + Sync>;

/// A node that is to be a replica again.
#[derive(Clone)]
pub struct Rejoin {
    /// Its name.
    pub node: Arc<str>,
    /// The primary.
    pub leader: Place,
    /// Its `primary_conninfo`; it may hold a password.
    pub conninfo: String,
    /// Its slot, which exists on the primary.
    pub slot: String,
}

impl std::fmt::Debug for Rejoin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rejoin").field("node", &self.node).field("leader", &self.leader).finish_non_exhaustive()
    }
}

/// Reaches the files of servers and starts them: what SQL cannot do.
///
/// The implementation for a local cluster, `dev::LocalAgent`, shows what is to be done and in which order.
pub trait NodeAgent: Send + Sync + 'static {
    /// Whether it reaches this node.
    fn reaches(&self, node: &str) -> bool;

    /// Makes the node a replica that streams from the primary: stops it if it runs, rewinds or copies its data, writes `conninfo` and `slot`
    /// afterwards (pg_rewind brings the other server's settings), and starts it.
    fn rejoin(&self, order: Rejoin) -> Pin<Box<dyn Future<Output = Result<(), AgentError>> + Send + '_>>;
}
