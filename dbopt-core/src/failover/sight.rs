//! What a coordinator sees of the nodes.

use std::sync::Arc;
use std::time::Duration;

use super::conninfo::{Conninfo, Mark, Place};
use crate::position::Lsn;

/// One look at all nodes, in the order of the settings.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The nodes.
    pub nodes: Vec<Sight>,
}

/// One look at a node.
#[derive(Debug, Clone)]
pub struct Sight {
    /// Its name.
    pub name: Arc<str>,
    /// Where the other nodes reach it.
    pub place: Place,
    /// How many looks in a row it did not answer.
    pub misses: u32,
    /// Since when it does not answer.
    pub lost_for: Duration,
    /// Since when it neither receives nor is a primary.
    pub idle_for: Duration,
    /// Whether the session that this look went over holds the node's vote for us.
    pub voted: bool,
    /// Whether something can reach its files.
    pub agent: bool,
    /// Its answer.
    pub seen: Option<Seen>,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whether it is in recovery.
    pub standby: bool,
    /// The identity of its cluster.
    pub system_identifier: u64,
    /// The timeline of what it writes, or the newest one it has received.
    pub timeline: u32,
    /// The end of its log; of a standby the further one of what it has received and replayed.
    pub position: Lsn,
    /// On a primary that was promoted since it started, where its timeline left the one before.
    pub forked_at: Option<Lsn>,
    /// Its receiver, if one runs.
    pub receiver: Option<Receiver>,
    /// Whether new sessions are read-only by default.
    pub read_only: bool,
    /// `synchronous_standby_names`.
    pub synchronous: String,
    /// `primary_conninfo`; `None` when it may not be read, or is no list of keys.
    pub conninfo: Option<Conninfo>,
    /// Its own slot on whom it follows.
    pub slot: Option<String>,
    /// Whether its control file knows its timeline: before that pg_rewind believes it is still on the one before.
    pub checkpointed: bool,
    /// Who streams from it, by application name.
    pub followers: Vec<String>,
    /// Its slots that have lost log which their owners need.
    pub lost_slots: Vec<String>,
    /// Whether another coordinator has its vote.
    pub taken: bool,
}

/// A standby's receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Whether it is connected and receives.
    pub streaming: bool,
    /// Whether it has heard nothing for longer than a living sender stays silent.
    pub silent: bool,
    /// Whom it receives from, as it calls it.
    pub from: Option<Place>,
}

impl Seen {
    /// What a coordinator left there.
    pub fn mark(&self) -> Option<Mark> {
        self.conninfo.as_ref().and_then(Conninfo::mark)
    }

    /// Whether a coordinator keeps it from receiving; as a primary, from taking writes.
    pub fn is_frozen(&self) -> bool {
        self.mark().is_some_and(|mark| mark.frozen) && (self.standby || self.read_only)
    }

    /// Whether it receives, or looks like it.
    pub fn streams(&self) -> bool {
        self.receiver.as_ref().is_some_and(|receiver| receiver.streaming)
    }
}

impl View {
    /// The nodes that answered.
    pub fn answering(&self) -> impl Iterator<Item = (usize, &Sight, &Seen)> {
        self.nodes.iter().enumerate().filter_map(|(i, node)| Some((i, node, node.seen.as_ref()?)))
    }

    /// Those of them that are standbys.
    pub fn standbys(&self) -> impl Iterator<Item = (usize, &Sight, &Seen)> {
        self.answering().filter(|(_, _, seen)| seen.standby)
    }

    /// How many votes are ours.
    pub fn votes(&self) -> usize {
        self.nodes.iter().filter(|node| node.voted && node.seen.is_some()).count()
    }

    /// How many are needed: more than half of all nodes, whether they answer or not.
    pub fn quorum(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    /// Whether the node is a standby that answers: whoever receives from it says nothing about the primary.
    pub(super) fn is_standby_at(&self, place: &Place) -> bool {
        self.standbys().any(|(_, node, _)| node.place == *place)
    }

    /// The highest number of an attempt that any node remembers.
    pub(super) fn last_epoch(&self) -> u64 {
        self.answering().filter_map(|(_, _, seen)| seen.mark()).map(|mark| mark.epoch).max().unwrap_or(0)
    }
}
