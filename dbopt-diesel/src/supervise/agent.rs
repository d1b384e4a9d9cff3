//! Who reaches a server's files.

use std::fmt;
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
    /// Whether the primary has no longer what it lacks, so that only a copy helps.
    pub fell_behind: bool,
}

impl fmt::Debug for Rejoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejoin").field("node", &self.node).field("leader", &self.leader).finish_non_exhaustive()
    }
}

/// What made a node a replica again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It only had to be started, or told whom to follow.
    Restarted,
    /// `pg_rewind`.
    Rewound,
    /// `pg_basebackup`.
    Copied,
}

#[cfg(feature = "agent")]
impl Way {
    const ALL: [Way; 3] = [Way::Restarted, Way::Rewound, Way::Copied];

    /// The way of this name.
    pub(super) fn named(name: &str) -> Option<Way> {
        Way::ALL.into_iter().find(|way| way.to_string() == name)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Restarted => "restarted",
            Way::Rewound => "rewound",
            Way::Copied => "copied",
        })
    }
}

/// Reaches the files of servers and starts them: what SQL cannot do.
///
/// [`AgentClient`](super::AgentClient) asks `dbopt agent` on the servers' machines, `dev::LocalAgent` is for a local cluster.
pub trait NodeAgent: Send + Sync + 'static {
    /// Whether it reaches this node.
    fn reaches(&self, node: &str) -> bool;

    /// Makes the node a replica that streams from the primary: stops it if it runs, rewinds or copies its data, writes `conninfo` and `slot`
    /// afterwards (pg_rewind brings the other server's settings), and starts it.
    fn rejoin(&self, order: Rejoin) -> Pin<Box<dyn Future<Output = Result<Way, AgentError>> + Send + '_>>;
}
