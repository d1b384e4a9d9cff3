//! The cluster as it was last seen, decided from the nodes' own reports. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::host::HostReading;
use super::lag::{Lag, LsnRing};
use crate::backend::{NodeReport, Role};
use crate::position::Position;
use tokio::time::Instant;

/// What a node is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Answers, and is where it belongs.
    Healthy,
    /// Does not answer.
    Unreachable,
    /// A replica whose receiver is not streaming: it shows old data until it does.
    Disconnected,
    /// Belongs to another cluster: nothing is sent there.
    Foreign,
    /// Says it is a primary although a later timeline exists, or is closed to writes: nothing is sent there.
    Fenced,
    /// Not asked yet.
    Unknown,
}

impl NodeState {
    /// The name in metrics and the status.
    pub const fn name(self) -> &'static str {
        match self {
            NodeState::Healthy => "healthy",
            NodeState::Unreachable => "unreachable",
            NodeState::Disconnected => "disconnected",
            NodeState::Foreign => "foreign",
            NodeState::Fenced => "fenced",
            NodeState::Unknown => "unknown",
        }
    }
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
    /// Since when it has been healthy, in a row; absent while it is not.
    pub healthy_since: Option<Instant>,
}

/// The cluster as it was last seen.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Grows with each change of the primary: connections of an earlier epoch are not used.
    pub epoch: u64,
    /// The place of the primary in `nodes`, if there is one.
    pub primary: Option<usize>,
    /// All nodes, in the order of the configuration.
    pub nodes: Vec<NodeView>,
}

/// The last word of a node, or why there is none.
#[derive(Debug, Clone, Default)]
pub(super) enum Word {
    #[default]
    None,
    Report(NodeReport),
    Silent(String),
}

/// What the monitor remembers between snapshots.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) words: Vec<Word>,
    pub(super) ring: LsnRing,
    pub(super) system_identifier: Option<u64>,
    pub(super) highest_timeline: u32,
    pub(super) epoch: u64,
    pub(super) primary: Option<usize>,
}

impl Memory {
    /// The snapshot that follows from the nodes' words.
    ///
    /// The primary is the node that is not in recovery, belongs to the cluster and has the highest timeline; a lower one than
    /// was ever seen is refused. Two equals are a conflict: the one that was primary before stays so, if it is among them.
    pub(super) fn topology(&mut self, names: &[Arc<str>], now: Instant, fresh: Duration) -> Topology {
        self.adopt_identity();
        let candidates: Vec<usize> = (0..names.len()).filter(|&i| self.may_lead(i)).collect();
        let timeline = |i: usize| self.report(i).and_then(|r| r.timeline).unwrap_or(0);
        let highest = candidates.iter().map(|&i| timeline(i)).max().unwrap_or(0);
        let leaders: Vec<usize> =
            candidates.into_iter().filter(|&i| timeline(i) == highest && highest >= self.highest_timeline).collect();
        let primary = match self.primary {
            Some(current) if leaders.contains(&current) => Some(current),
            _ => leaders.first().copied(),
        };
        if let Some(report) = primary.and_then(|i| self.report(i).cloned()) {
            self.highest_timeline = self.highest_timeline.max(highest);
            self.ring.push(now, report.timeline, report.lsn);
        }
        if primary.is_some() && primary != self.primary {
            self.epoch += 1;
            self.primary = primary;
        }
        let nodes = names.iter().enumerate().map(|(i, name)| self.view(i, name, primary, now, fresh)).collect();
        Topology { epoch: self.epoch, primary, nodes }
    }

    fn report(&self, i: usize) -> Option<&NodeReport> {
        match self.words.get(i) {
            Some(Word::Report(report)) => Some(report),
            _ => None,
        }
    }

    /// The cluster's identity is that of most nodes, once every node has been heard or found silent; of equals, that of a primary, then
    /// that of the node named first. Earlier it would be that of whoever answers first, and a stranger may be quick.
    fn adopt_identity(&mut self) {
        if self.system_identifier.is_some() || self.words.iter().any(|word| matches!(word, Word::None)) {
            return;
        }
        let reports = || (0..self.words.len()).filter_map(|i| self.report(i));
        let standing = |report: &NodeReport| {
            let kin = || reports().filter(|r| r.system_identifier == report.system_identifier);
            (kin().count(), kin().any(|r| r.role == Role::Primary))
        };
        // The last of equals wins in `max_by_key`, so the first named comes last.
        let chosen = reports().collect::<Vec<_>>().into_iter().rev().max_by_key(|report| standing(report));
        self.system_identifier = chosen.map(|report| report.system_identifier);
    }

    fn may_lead(&self, i: usize) -> bool {
        self.report(i).is_some_and(|r| {
            r.role == Role::Primary && !r.read_only && Some(r.system_identifier) == self.system_identifier
        })
    }

    fn view(&self, i: usize, name: &Arc<str>, primary: Option<usize>, now: Instant, fresh: Duration) -> NodeView {
        let mut view = NodeView {
            name: name.clone(),
            state: NodeState::Unknown,
            role: None,
            position: None,
            lag: Lag::Unknown,
            cause: None,
            host: HostReading::default(),
            healthy_since: None,
        };
        let report = match self.words.get(i) {
            Some(Word::Report(report)) => report,
            Some(Word::Silent(cause)) => {
                view.state = NodeState::Unreachable;
                view.cause = Some(cause.clone());
                return view;
            }
            _ => return view,
        };
        if self.system_identifier.is_none() {
            return view;
        }
        view.role = Some(report.role);
        view.position = report.timeline.map(|timeline| Position { timeline, lsn: report.lsn });
        let (state, cause) = if Some(report.system_identifier) != self.system_identifier {
            (
                NodeState::Foreign,
                Some("it belongs to another cluster (its system identifier differs): remove its URL".to_owned()),
            )
        } else if report.role == Role::Primary && primary != Some(i) {
            let cause = if report.read_only {
                "a primary that is closed to writes (default_transaction_read_only)"
            } else {
                "a second primary: another node has a later timeline, or was primary before"
            };
            (NodeState::Fenced, Some(cause.to_owned()))
        } else if report.streaming == Some(false) {
            (NodeState::Disconnected, Some("its receiver is not streaming from any server".to_owned()))
        } else {
            (NodeState::Healthy, None)
        };
        view.state = state;
        view.cause = cause;
        view.lag = if primary == Some(i) { Lag::Known(Duration::ZERO) } else { self.ring.lag(now, report.lsn, fresh) };
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Lsn;

    fn report(role: Role, timeline: u32, lsn: u64) -> Word {
        Word::Report(NodeReport {
            role,
            system_identifier: 7,
            timeline: Some(timeline),
            lsn: Lsn(lsn),
            streaming: (role == Role::Replica).then_some(true),
            read_only: false,
        })
    }

    fn names(n: usize) -> Vec<Arc<str>> {
        (0..n).map(|i| Arc::from(format!("n{i}"))).collect()
    }

    fn look(memory: &mut Memory, words: Vec<Word>) -> Topology {
        let names = names(words.len());
        memory.words = words;
        memory.topology(&names, Instant::now(), Duration::from_secs(3))
    }

    #[tokio::test(start_paused = true)]
    async fn the_highest_timeline_leads_and_the_old_primary_is_fenced() {
        let mut memory = Memory::default();
        let first = look(&mut memory, vec![report(Role::Primary, 1, 100), report(Role::Replica, 1, 90)]);
        assert_eq!(first.primary, Some(0));
        let second = look(&mut memory, vec![report(Role::Primary, 1, 500), report(Role::Primary, 2, 95)]);
        assert_eq!(second.primary, Some(1));
        assert_eq!(second.nodes[0].state, NodeState::Fenced);
        assert!(second.epoch > first.epoch);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_primary_that_returns_alone_is_refused() {
        let mut memory = Memory::default();
        look(&mut memory, vec![report(Role::Primary, 2, 100), Word::Silent("dead".into())]);
        let later = look(&mut memory, vec![Word::Silent("dead".into()), report(Role::Primary, 1, 900)]);
        assert_eq!(later.primary, None);
        assert_eq!(later.nodes[1].state, NodeState::Fenced);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_equals_the_one_that_led_goes_on() {
        let mut memory = Memory::default();
        look(&mut memory, vec![report(Role::Replica, 1, 1), report(Role::Primary, 1, 1)]);
        let both = look(&mut memory, vec![report(Role::Primary, 1, 9), report(Role::Primary, 1, 9)]);
        assert_eq!(both.primary, Some(1));
        assert_eq!(both.nodes[0].state, NodeState::Fenced);
    }

    #[tokio::test(start_paused = true)]
    async fn another_clusters_node_is_foreign_whatever_it_says() {
        let mut memory = Memory::default();
        let mut stranger = report(Role::Primary, 9, 900);
        if let Word::Report(r) = &mut stranger {
            r.system_identifier = 8;
        }
        let seen = look(&mut memory, vec![report(Role::Primary, 1, 1), stranger]);
        assert_eq!(seen.primary, Some(0));
        assert_eq!(seen.nodes[1].state, NodeState::Foreign);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_that_answers_first_does_not_become_the_cluster() {
        let mut stranger = report(Role::Replica, 1, 1);
        if let Word::Report(r) = &mut stranger {
            r.system_identifier = 8;
        }
        let mut memory = Memory::default();
        let early = look(&mut memory, vec![Word::None, stranger.clone()]);
        assert_eq!(early.nodes[1].state, NodeState::Unknown);
        let later = look(&mut memory, vec![report(Role::Primary, 1, 1), stranger]);
        assert_eq!((later.primary, later.nodes[1].state), (Some(0), NodeState::Foreign));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fenced_primary_does_not_lead() {
        let mut memory = Memory::default();
        let mut fenced = report(Role::Primary, 1, 1);
        if let Word::Report(r) = &mut fenced {
            r.read_only = true;
        }
        let seen = look(&mut memory, vec![fenced]);
        assert_eq!(seen.primary, None);
        assert_eq!(seen.nodes[0].state, NodeState::Fenced);
    }
}
