//! What is known of a node, and of all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::host::HostReading;
use super::lag::Lag;
use super::reach::Reached;
use super::takeover::{self, Takeover};
use crate::backend::{Role, Upstream};
use crate::position::{Lsn, Position};

/// What a node is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Answers, and is where it belongs.
    Healthy,
    /// Serves as if it were healthy, and something is wrong there that somebody should look at.
    Degraded,
    /// A replica that is further behind than reads may be: it serves again once it is well below the limit.
    Lagging,
    /// Answers again after a loss, and is not trusted yet: it is asked only when nothing else serves.
    Returning,
    /// A replica whose receiver is not streaming, or streams an old timeline: it shows old data until that changes.
    Disconnected,
    /// A replica that has log which the primary does not have: nothing is sent there, and it never gets well by itself.
    Diverged,
    /// The same server as another node of the configuration: nothing is sent there.
    Duplicate,
    /// Does not answer.
    Unreachable,
    /// Belongs to another cluster: nothing is sent there.
    Foreign,
    /// Says it is a primary although a later timeline exists, or is closed to writes: nothing is sent there.
    Fenced,
    /// Not asked yet.
    Unknown,
    /// No node at all: a slot in which nobody is that was found in DNS. It is shown nowhere.
    Vacant,
}

impl NodeState {
    /// Every state that a node may have.
    pub const ALL: [NodeState; 11] = [
        NodeState::Healthy,
        NodeState::Degraded,
        NodeState::Lagging,
        NodeState::Returning,
        NodeState::Disconnected,
        NodeState::Diverged,
        NodeState::Duplicate,
        NodeState::Unreachable,
        NodeState::Foreign,
        NodeState::Fenced,
        NodeState::Unknown,
    ];

    /// Whether calls are sent there.
    pub const fn serves(self) -> bool {
        matches!(self, NodeState::Healthy | NodeState::Degraded)
    }

    /// Whether reads may be sent there when nothing that serves is left: its data are the cluster's, and may be old.
    pub const fn serves_at_need(self) -> bool {
        matches!(
            self,
            NodeState::Healthy
                | NodeState::Degraded
                | NodeState::Lagging
                | NodeState::Returning
                | NodeState::Disconnected
        )
    }

    /// The name in metrics and in the state.
    pub const fn name(self) -> &'static str {
        match self {
            NodeState::Healthy => "healthy",
            NodeState::Degraded => "degraded",
            NodeState::Lagging => "lagging",
            NodeState::Returning => "returning",
            NodeState::Disconnected => "disconnected",
            NodeState::Diverged => "diverged",
            NodeState::Duplicate => "duplicate",
            NodeState::Unreachable => "unreachable",
            NodeState::Foreign => "foreign",
            NodeState::Fenced => "fenced",
            NodeState::Unknown => "unknown",
            NodeState::Vacant => "vacant",
        }
    }
}

/// What a replica's receiver does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    /// It receives the log.
    Streaming,
    /// It does not.
    Stopped,
    /// There is one, and the role may not see what it does (`GRANT pg_monitor`).
    Hidden,
}

/// Where a replica gets its log from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feeder {
    /// What the replica calls it.
    pub address: Upstream,
    /// Its place among the nodes, if it is one of them.
    pub node: Option<usize>,
}

/// What else is known of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// How many bytes of log a replica has still to replay; absent while unknown.
    pub lag_bytes: Option<u64>,
    /// Whether every write of the primary has reached it.
    pub reached: Reached,
    /// What its receiver does; absent on a primary.
    pub receiver: Option<Receiver>,
    /// Where it gets its log from, or got it from last; absent where nobody can tell.
    pub feeder: Option<Feeder>,
    /// Why there are no statistics of its machine.
    pub host_absent: Option<String>,
    /// What somebody should know about it, whatever its state.
    pub notes: Vec<String>,
    /// Whether somebody has stopped it from replaying.
    pub paused: bool,
    /// How often it was lost since the start.
    pub losses: u64,
    /// It was lost so often lately that each time is not worth a line in the log.
    pub flaps: bool,
}

/// One node as it was last seen.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// The name.
    pub name: Arc<str>,
    /// What it is good for.
    pub state: NodeState,
    /// What it says it is.
    pub role: Option<Role>,
    /// What readers see there.
    pub position: Option<Position>,
    /// How far behind it is; a primary never is.
    pub lag: Lag,
    /// Why it is not healthy.
    pub cause: Option<String>,
    /// How busy its machine is, as far as anyone can tell.
    pub host: HostReading,
    /// Since when calls are sent there, in a row; absent while they are not.
    pub healthy_since: Option<Instant>,
    /// Where its log comes from, how much of it is missing, and what else there is to know.
    pub details: Details,
}

/// The cluster as it was last seen.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    /// Grows with each change of the primary: connections of an earlier epoch are not used.
    pub epoch: u64,
    /// The place of the primary in `nodes`, if there is one.
    pub primary: Option<usize>,
    /// All nodes, in the order of the configuration, and then the slots for those that are found in DNS.
    pub nodes: Vec<NodeView>,
    /// The highest timeline that a primary was seen on; 0 before there was one.
    pub timeline: u32,
    /// The last time that another node became the primary.
    pub takeover: Option<Arc<Takeover>>,
    /// Where each timeline left the one before, where that is known.
    pub forks: Arc<BTreeMap<u32, Lsn>>,
    /// The highest timeline that was given up for a lower one, as Patroni wanted it; 0 if that never happened.
    pub abandoned: u32,
    /// What somebody should know about the cluster as a whole.
    pub warnings: Vec<String>,
}

impl Topology {
    /// The nodes, without the slots that nobody is in.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.iter().filter(|node| node.state != NodeState::Vacant)
    }

    /// A position as one of the primary's timeline, and whether what was written there was lost when a timeline was left.
    ///
    /// Nothing waits for what is lost: such a position becomes the last one of its timeline that was kept.
    pub fn carried_over(&self, position: Position) -> (Position, bool) {
        if position.timeline > self.timeline && position.timeline <= self.abandoned {
            return (Position { timeline: self.timeline, lsn: Lsn(0) }, true);
        }
        takeover::carried_over(position, self.timeline, &self.forks)
    }

    /// How many replicas serve reads.
    pub fn serving_replicas(&self) -> usize {
        self.nodes.iter().filter(|node| node.state.serves() && node.role == Some(Role::Replica)).count()
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
