//! The cluster as it was last seen, decided from the nodes' own reports. Pure.

mod authority;
mod judge;
#[cfg(test)]
mod orphan_tests;
#[cfg(test)]
mod patroni_tests;
mod places;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::host::{HostReading, LastReading, Limits};
use super::lag::{Lag, LsnRing};
use super::patroni::Said;
use super::reach::Progress;
use super::state::{Feeder, NodeState, NodeView, Topology};
use super::takeover::Succession;
use super::trust::{Patience, Reputation};
use crate::backend::{NodeReport, Role, ServerMark};
use crate::position::Lsn;
use authority::{Authority, Regression};
pub(super) use places::Places;

/// The last word of a node, or why there is none.
#[derive(Debug, Clone, Default)]
pub(super) enum Word {
    #[default]
    None,
    Report(Heard),
    Silent(String),
}

/// A node's report, and when it was asked for and came.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) report: NodeReport,
    pub(super) asked: Instant,
    pub(super) at: Instant,
}

/// What the settings say about judging.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Replicas further behind serve no reads.
    pub(super) max_lag: Duration,
    /// How old the last word of the primary may be before lag is unknown.
    pub(super) fresh: Duration,
    pub(super) patience: Patience,
    pub(super) limits: Limits,
    /// How long a reading of a machine holds.
    pub(super) reading_holds: Duration,
}

/// What is remembered of one node between snapshots.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    pub(super) name: Arc<str>,
    pub(super) word: Word,
    pub(super) host: LastReading,
    /// Nobody is in this slot.
    pub(super) vacant: bool,
    reputation: Reputation,
    feeder: Option<Feeder>,
    /// The run of the server in which it was last seen as a replica.
    followed: Option<ServerMark>,
    progress: Progress,
    lags: bool,
    serves_since: Option<Instant>,
}

/// What is remembered of the cluster between snapshots.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) nodes: Vec<Remembered>,
    pub(super) places: Places,
    ring: LsnRing,
    system_identifier: Option<u64>,
    highest_timeline: u32,
    /// Where each timeline left the one before, where that is known.
    forks: Arc<BTreeMap<u32, Lsn>>,
    pub(super) past: Succession,
    /// Patroni's last word.
    pub(super) said: Said,
    regression: Regression,
    /// The highest timeline that was given up for a lower one.
    abandoned: u32,
    epoch: u64,
    primary: Option<usize>,
}

impl Remembered {
    fn report(&self) -> Option<&NodeReport> {
        self.heard().map(|heard| &heard.report)
    }

    fn heard(&self) -> Option<&Heard> {
        match &self.word {
            Word::Report(heard) => Some(heard),
            Word::None | Word::Silent(_) => None,
        }
    }
}

/// Who leads, and why nobody does.
struct Leadership {
    primary: Option<usize>,
    /// For each node, the one that is the same server and comes before it.
    twins: Vec<Option<usize>>,
    /// The highest timeline that anybody follows.
    highest: u32,
    /// Several lead on the same timeline, and nothing tells which one is right.
    undecided: bool,
    authority: Authority,
}

impl Memory {
    pub(super) fn new(names: &[Arc<str>], places: Places) -> Self {
        let nodes = names.iter().map(|name| Remembered { name: name.clone(), ..Remembered::default() }).collect();
        Memory { nodes, places, ..Memory::default() }
    }

    /// Another server is in the slot, or nobody; of the last one nothing is remembered but its name.
    pub(super) fn begin_anew(&mut self, i: usize, name: Option<Arc<str>>, place: Option<(Arc<str>, u16)>) {
        let vacant = name.is_none();
        let name = name.unwrap_or_else(|| self.nodes[i].name.clone());
        self.nodes[i] = Remembered { name, vacant, ..Remembered::default() };
        self.places.place(i, place);
        // Who leads there next is a new primary, whatever its place.
        self.primary = self.primary.filter(|primary| *primary != i);
        for feeder in self.nodes.iter_mut().filter_map(|node| node.feeder.as_mut()) {
            feeder.node = feeder.node.filter(|node| *node != i);
        }
    }

    pub(super) fn system_identifier(&self) -> Option<u64> {
        self.system_identifier
    }

    /// The snapshot that follows from the nodes' words.
    pub(super) fn topology(&mut self, now: Instant, rules: &Rules) -> Topology {
        self.adopt_identity();
        self.note_feeders();
        self.note_regression(now);
        let leadership = self.leadership();
        let primary = leadership.primary;
        if let Some(Heard { report, asked, .. }) = primary.and_then(|i| self.nodes[i].heard().cloned()) {
            self.highest_timeline = self.highest_timeline.max(report.timeline.unwrap_or(0));
            if let (Some(timeline), Some(fork)) = (report.timeline, report.forked_at) {
                // After a crash the server names the end of its recovery, which comes later.
                if self.forks.get(&timeline).is_none_or(|known| fork < *known) {
                    Arc::make_mut(&mut self.forks).insert(timeline, fork);
                }
            }
            self.ring.push(asked, report.timeline, report.lsn);
        }
        self.note_succession(primary, now);
        if primary.is_some() && primary != self.primary {
            self.epoch += 1;
            self.primary = primary;
        }
        let nodes = (0..self.nodes.len()).map(|i| self.view(i, &leadership, now, rules)).collect();
        Topology {
            epoch: self.epoch,
            primary,
            nodes,
            timeline: self.highest_timeline,
            takeover: self.past.latest.clone(),
            forks: self.forks.clone(),
            abandoned: self.abandoned,
            warnings: self.warnings(),
        }
    }

    fn note_succession(&mut self, primary: Option<usize>, now: Instant) {
        match primary {
            Some(i) => {
                let node = &mut self.nodes[i];
                let followed = node.followed.take();
                if let Word::Report(Heard { report, asked, .. }) = &node.word {
                    self.past.leads((i, &node.name), (report, *asked), followed, &self.forks, now);
                }
            }
            None => self.past.doubts(None, now),
        }
        for (i, node) in self.nodes.iter_mut().enumerate() {
            let Word::Report(Heard { report, .. }) = &node.word else { continue };
            self.past.hears_of_the_old_one(i, report);
            if report.role == Role::Replica {
                node.followed = Some(report.server);
            }
        }
    }

    /// The cluster's identity is that of most servers, once every node has been heard or found silent; of equals, that of a primary,
    /// then that of the node named first. Earlier it would be that of whoever answers first, and a stranger may be quick.
    fn adopt_identity(&mut self) {
        let unheard = |node: &Remembered| !node.vacant && matches!(node.word, Word::None);
        if self.system_identifier.is_some() || self.nodes.iter().any(unheard) {
            return;
        }
        let twins = self.twins();
        let reports =
            || self.nodes.iter().zip(&twins).filter(|(_, twin)| twin.is_none()).filter_map(|(node, _)| node.report());
        let standing = |report: &NodeReport| {
            let kin = || reports().filter(|r| r.system_identifier == report.system_identifier);
            (kin().count(), kin().any(|r| r.role == Role::Primary))
        };
        // The last of equals wins in `max_by_key`, so the first named comes last.
        let chosen = reports().collect::<Vec<_>>().into_iter().rev().max_by_key(|report| standing(report));
        self.system_identifier = chosen.map(|report| report.system_identifier);
    }

    fn note_feeders(&mut self) {
        for i in 0..self.nodes.len() {
            let Some(upstream) = self.nodes[i].report().and_then(|report| report.upstream.clone()) else { continue };
            let listens = |j: usize| self.nodes[j].report().map(|report| report.server.port);
            let node = self.places.find(&upstream, listens).filter(|feeder| *feeder != i);
            self.nodes[i].feeder = Some(Feeder { address: upstream, node });
        }
    }

    /// For each node, the one that is the same server and stands for it: the primary so far, or the one that is named first.
    fn twins(&self) -> Vec<Option<usize>> {
        let mark = |i: usize| self.nodes[i].report().map(|report| (report.system_identifier, report.server));
        let stands_for = |i: usize| {
            let mine = mark(i)?;
            let same = (0..self.nodes.len()).filter(|j| mark(*j) == Some(mine));
            let first = same.clone().next()?;
            let stands = self.primary.filter(|primary| same.clone().any(|j| j == *primary)).unwrap_or(first);
            (stands != i).then_some(stands)
        };
        (0..self.nodes.len()).map(stands_for).collect()
    }

    /// The primary is the node that is not in recovery, belongs to the cluster and has the highest timeline; and, where Patroni is
    /// followed, is its leader.
    ///
    /// A lower one than was ever seen, or than a replica is streaming, is refused. Of equals the one that was primary before stays so;
    /// else the one that more replicas follow; else none is: a write on the wrong one would be lost.
    fn leadership(&self) -> Leadership {
        let twins = self.twins();
        let (authority, _) = self.authority();
        let kin = |i: &usize| self.is_kin(*i) && twins[*i].is_none();
        let timeline = |i: usize| self.nodes[i].report().and_then(|r| r.timeline).unwrap_or(0);
        let candidates = (0..self.nodes.len()).filter(kin).filter(|i| self.may_lead(*i));
        let highest = self.highest_seen();
        let is_back = |i: usize| self.regression.accepts(&self.nodes[i].name, timeline(i));
        let leads = |i: &usize| authority.allows(*i) && (timeline(*i) == highest || is_back(*i));
        let leaders: Vec<usize> = candidates.filter(leads).collect();
        let followers = |leader: usize| {
            let follows = |i: &usize| self.nodes[*i].feeder.as_ref().and_then(|feeder| feeder.node) == Some(leader);
            (0..self.nodes.len()).filter(kin).filter(|i| self.streams(*i)).filter(follows).count()
        };
        let most = leaders.iter().map(|leader| followers(*leader)).max().unwrap_or(0);
        let followed: Vec<usize> = leaders.iter().copied().filter(|leader| followers(*leader) == most).collect();
        let primary = match (self.primary, leaders.as_slice(), followed.as_slice()) {
            (Some(current), leaders, _) if leaders.contains(&current) => Some(current),
            (_, [only], _) | (_, _, [only]) => Some(*only),
            _ => None,
        };
        Leadership { primary, twins, highest, undecided: primary.is_none() && leaders.len() > 1, authority }
    }

    fn is_kin(&self, i: usize) -> bool {
        self.nodes[i].report().is_some_and(|r| Some(r.system_identifier) == self.system_identifier)
    }

    fn may_lead(&self, i: usize) -> bool {
        self.nodes[i].report().is_some_and(|r| r.role == Role::Primary && !r.read_only)
    }

    fn streams(&self, i: usize) -> bool {
        self.nodes[i].report().is_some_and(|r| r.role == Role::Replica && r.streaming == Some(true))
    }

    /// What nothing is known of yet.
    fn blank(&self, i: usize) -> NodeView {
        NodeView {
            name: self.nodes[i].name.clone(),
            state: NodeState::Unknown,
            role: None,
            position: None,
            lag: Lag::Unknown,
            cause: None,
            host: HostReading::default(),
            healthy_since: None,
            details: super::state::Details::default(),
        }
    }
}
