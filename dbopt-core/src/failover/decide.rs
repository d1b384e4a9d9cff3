//! The next step of a coordinator. Pure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::config::Config;
use super::conninfo::Conninfo;
use super::elect::elect;
use super::sight::{Seen, Sight, View};
use super::tend::tend;

/// What the decisions go by.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(super) misses: u32,
    pub(super) patience: Duration,
    pub(super) rejoin_after: Duration,
    /// How many nodes besides the primary have what it acknowledges, and the setting that says so.
    pub(super) synchronous: Option<(usize, String)>,
}

impl Rules {
    /// For nodes with these names.
    pub fn new(config: &Config, names: &[Arc<str>]) -> Self {
        let acknowledge = acknowledgements(names.len());
        let quoted = names.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
        let setting = format!("ANY {acknowledge} ({})", quoted.collect::<Vec<_>>().join(", "));
        Rules {
            misses: config.misses,
            patience: config.patience,
            rejoin_after: config.rejoin_after,
            synchronous: config.synchronous.then_some((acknowledge, setting)),
        }
    }

    /// The value of `synchronous_standby_names`, if writes are to wait for replicas.
    pub fn synchronous(&self) -> Option<&str> {
        self.synchronous.as_ref().map(|(_, setting)| setting.as_str())
    }
}

/// So many that whatever majority of the nodes is cut off from a primary, it is too few that stay with it.
fn acknowledgements(nodes: usize) -> usize {
    (nodes.div_ceil(2)).saturating_sub(1).max(1)
}

/// What a coordinator remembers from look to look; losing it costs time only.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Which cluster it is.
    pub(super) system_identifier: Option<u64>,
    /// The attempt and timeline of the latest primary.
    pub(super) rank: (u64, u32),
    /// The last primary.
    pub(super) primary: Option<usize>,
    pub(super) attempt: Option<Attempt>,
}

/// A failover under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) epoch: u64,
    pub(super) since: Instant,
    pub(super) promoted: Option<usize>,
}

impl Memory {
    /// Takes in what was seen.
    pub fn note(&mut self, view: &View) {
        if self.system_identifier.is_none() && view.answering().count() >= view.quorum() {
            let count = |id| view.answering().filter(|(_, _, seen)| seen.system_identifier == id).count();
            let mut all = view.answering().map(|(_, _, seen)| seen.system_identifier);
            self.system_identifier = all.find(|id| count(*id) >= view.quorum());
        }
        if let Leader::One(leader) = self.leader(view) {
            self.primary = Some(leader);
            self.rank = view.nodes[leader].seen.as_ref().map_or(self.rank, rank);
        }
    }

    /// Takes in what is being done.
    pub fn took(&mut self, step: &Step, now: Instant) {
        match step {
            Step::Freeze { epoch, .. } if self.attempt.is_none_or(|attempt| attempt.epoch != *epoch) => {
                self.attempt = Some(Attempt { epoch: *epoch, since: now, promoted: None });
            }
            Step::Promote { node, .. } => {
                if let Some(attempt) = &mut self.attempt {
                    attempt.promoted = Some(*node);
                }
            }
            Step::Release { .. } | Step::Watch { .. } => self.attempt = None,
            _ => {}
        }
    }

    /// Whether an attempt of this coordinator is under way.
    pub fn is_busy(&self) -> bool {
        self.attempt.is_some()
    }

    /// The last primary, as far as this coordinator knows.
    pub fn primary(&self) -> Option<usize> {
        self.primary
    }

    /// The primary of this look, if there is exactly one that can be believed.
    pub fn leader_of(&self, view: &View) -> Option<usize> {
        match self.leader(view) {
            Leader::One(leader) => Some(leader),
            _ => None,
        }
    }

    /// Whether a node belongs to the cluster.
    pub fn is_ours(&self, seen: &Seen) -> bool {
        self.system_identifier == Some(seen.system_identifier)
    }

    /// The primary of the latest attempt; of two of one attempt (somebody promoted by hand) that on the higher timeline.
    pub(super) fn leader(&self, view: &View) -> Leader {
        let judged: Vec<(Standing, (u64, u32), usize)> =
            self.primaries(view).map(|(i, seen)| (self.standing(view, i, seen), rank(seen), i)).collect();
        let believed = || judged.iter().filter(|(standing, ..)| *standing == Standing::Believed);
        match believed().max_by_key(|(_, rank, _)| *rank) {
            Some((_, best, leader)) if believed().filter(|(_, rank, _)| rank == best).count() == 1 => {
                Leader::One(*leader)
            }
            None if judged.iter().all(|(standing, ..)| *standing == Standing::Stale) => Leader::None,
            _ => Leader::Conflict,
        }
    }

    pub(super) fn primaries<'a>(&self, view: &'a View) -> impl Iterator<Item = (usize, &'a Seen)> {
        view.answering().filter(|(_, _, seen)| !seen.standby && self.is_ours(seen)).map(|(i, _, seen)| (i, seen))
    }

    fn standing(&self, view: &View, primary: usize, seen: &Seen) -> Standing {
        let name = Some(&*view.nodes[primary].name);
        let set_aside = seen.is_frozen() && seen.mark().is_some_and(|mark| mark.from.as_deref() != name);
        if set_aside || rank(seen) < self.rank {
            return Standing::Stale;
        }
        let (own, timeline) = rank(seen);
        let mut standing = Standing::Believed;
        for (_, _, standby) in view.standbys().filter(|(_, _, standby)| self.is_ours(standby)) {
            let mark = standby.mark().unwrap_or_default();
            // Who shall lead, or who was lost, if anybody knows.
            let whose = mark.to.or(mark.from);
            let elsewhere = whose.is_some_and(|whose| !view.answering().any(|(_, node, _)| *node.name == whose));
            if mark.epoch > own && !mark.frozen || mark.epoch >= own && standby.timeline > timeline {
                return Standing::Stale;
            }
            // Frozen in a later attempt, because somebody else was lost.
            if mark.epoch > own && elsewhere {
                standing = Standing::Doubtful;
            }
        }
        standing
    }
}

/// What a primary is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Believed,
    /// There was a later one.
    Stale,
    /// There may have been.
    Doubtful,
}

/// Which primary came later.
fn rank(seen: &Seen) -> (u64, u32) {
    (epoch(seen), seen.timeline)
}

/// The last attempt that the node took part in.
pub(super) fn epoch(seen: &Seen) -> u64 {
    seen.mark().map_or(0, |mark| mark.epoch)
}

pub(super) enum Leader {
    None,
    One(usize),
    /// Two, and nothing tells which.
    Conflict,
}

/// A new `primary_conninfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// For which node.
    pub node: usize,
    /// What it is told.
    pub conninfo: Conninfo,
}

/// What is to be done next; after it the nodes are looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// All is well under this primary.
    Watch {
        /// The primary.
        leader: usize,
    },
    /// Nothing can or may be done.
    Wait(Reason),
    /// Keep replicas from receiving, and write on them that this attempt did it.
    Freeze {
        /// The attempt.
        epoch: u64,
        /// What they are told.
        orders: Vec<Order>,
    },
    /// Make this node the primary.
    Promote {
        /// The attempt.
        epoch: u64,
        /// The node.
        node: usize,
    },
    /// Take an attempt back for which there is no end in sight.
    Release {
        /// What the frozen replicas are told.
        orders: Vec<Order>,
    },
    /// Write on the primary that the attempt is over and it is the primary, before anybody follows it.
    Settle {
        /// For the primary.
        order: Order,
    },
    /// Let replicas follow the primary, once it keeps log for them.
    Follow {
        /// The primary.
        leader: usize,
        /// What they are told.
        orders: Vec<Order>,
    },
    /// Let this node take writes: it was kept from it earlier.
    Open {
        /// The node.
        node: usize,
    },
    /// Keep a stale primary from taking writes, as far as SQL can.
    Fence {
        /// The stale one, and what is written there.
        order: Order,
    },
    /// Set `synchronous_standby_names`.
    Synchronise {
        /// Where.
        nodes: Vec<usize>,
    },
    /// Write a checkpoint, so that pg_rewind sees the new timeline.
    Checkpoint {
        /// The primary.
        node: usize,
    },
    /// Have the node's agent make it a replica again.
    Rejoin {
        /// The node.
        node: usize,
        /// The primary.
        leader: usize,
    },
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Fewer than three nodes: there is no majority without the primary.
    TooFewNodes,
    /// Another coordinator is at work.
    Another,
    /// Too few nodes gave their votes.
    NoMajority {
        /// How many did.
        votes: usize,
        /// How many are needed.
        quorum: usize,
    },
    /// Two primaries on one timeline.
    Conflict,
    /// The primary has not missed enough checks yet.
    Suspect,
    /// A replica still hears the primary: the trouble is between it and us.
    StillHeard {
        /// The replica.
        by: usize,
    },
    /// Too few replicas are here to know, or to cut the primary off.
    TooFewReplicas,
    /// A replica that answers has more, and its vote is another's.
    AnotherIsAhead {
        /// The replica.
        node: usize,
    },
    /// Frozen receivers have not ended yet.
    Settling,
    /// What a replica is told cannot be read: `pg_monitor` is missing, or it is a URI.
    Unreadable {
        /// The replica.
        node: usize,
    },
    /// Too few replicas stream under their nodes' names, so writes would hang.
    NotEnoughToSynchronise,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::TooFewNodes => f.write_str("a failover needs at least three nodes: two of them must agree without the primary"),
            Reason::Another => f.write_str("another coordinator has the votes; this one stands by"),
            Reason::NoMajority { votes, quorum } => write!(f, "{votes} of the {quorum} votes that are needed"),
            Reason::Conflict => {
                f.write_str("two primaries on one timeline: stop the one whose writes shall be given up, then it can be rewound")
            }
            Reason::Suspect => f.write_str("the primary does not answer; it is asked again"),
            Reason::StillHeard { by } => {
                write!(f, "node {by} still hears the primary: look at the network between it and the coordinator")
            }
            Reason::TooFewReplicas => f.write_str("too few replicas answer: a failover could lose what the others have"),
            Reason::AnotherIsAhead { node } => write!(f, "node {node} has more than the others, and its vote is another coordinator's"),
            Reason::Settling => f.write_str("frozen replicas still receive"),
            Reason::Unreadable { node } => write!(
                f,
                "primary_conninfo of node {node} cannot be read: grant pg_monitor, and write it as key=value, not as a URI"
            ),
            Reason::NotEnoughToSynchronise => f.write_str(
                "too few replicas stream under the names of their nodes: write application_name=<name> into their primary_conninfo",
            ),
        }
    }
}

/// What is to be done, as far as `view` shows.
pub fn decide(view: &View, memory: &Memory, rules: &Rules, now: Instant) -> Step {
    if view.nodes.len() < 3 {
        return Step::Wait(Reason::TooFewNodes);
    }
    let (votes, quorum) = (view.votes(), view.quorum());
    let stale = memory.attempt.is_some_and(|attempt| now.saturating_duration_since(attempt.since) > rules.patience);
    if votes < quorum {
        if let Some(step) = release(view, memory).filter(|_| stale) {
            return step;
        }
        let another = view.answering().any(|(_, node, seen)| seen.taken && !node.voted);
        return Step::Wait(if another { Reason::Another } else { Reason::NoMajority { votes, quorum } });
    }
    match memory.leader(view) {
        Leader::Conflict => Step::Wait(Reason::Conflict),
        Leader::One(leader) => tend(view, memory, rules, leader),
        Leader::None => match release(view, memory) {
            Some(step) if stale => step,
            _ => elect(view, memory, rules),
        },
    }
}

/// Thaws what this coordinator froze, where it still has the vote.
fn release(view: &View, memory: &Memory) -> Option<Step> {
    // Whoever was told to become the primary may be it by now.
    let attempt = memory.attempt.filter(|attempt| attempt.promoted.is_none())?;
    let ours = |node: &Sight, seen: &Seen| {
        node.voted && seen.mark().is_some_and(|mark| mark.frozen && mark.epoch == attempt.epoch)
    };
    let orders = view.standbys().filter(|(_, node, seen)| ours(node, seen));
    let orders =
        orders.filter_map(|(node, _, seen)| Some(Order { node, conninfo: seen.conninfo.as_ref()?.unfrozen() }));
    let orders: Vec<Order> = orders.collect();
    (!orders.is_empty()).then_some(Step::Release { orders })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_majority_is_cut_off_too_few_stay_with_the_primary() {
        for nodes in 3..20 {
            let left = nodes - (nodes / 2 + 1) - 1;
            assert!(left < acknowledgements(nodes), "{nodes} nodes");
            assert!(acknowledgements(nodes) < nodes, "{nodes} nodes");
        }
    }
}
