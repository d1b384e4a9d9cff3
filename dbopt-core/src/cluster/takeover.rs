//! That another node became the primary: how long there was none, and how much log was lost. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{NodeReport, Role, ServerMark};
use crate::position::{Lsn, Position};

/// That another node became the primary, or the same one began another timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takeover {
    /// Its number, counted from 1 since this instance started.
    pub number: u64,
    /// Who was the primary.
    pub from: Arc<str>,
    /// Who is it since.
    pub to: Arc<str>,
    /// The timeline since, where it is known.
    pub timeline: Option<u32>,
    /// From the first sign of trouble with the old one until the new one was known.
    pub outage: Duration,
    /// How many bytes of the old one's log the new one does not have, as far as this instance has seen the old one's: there may have been
    /// more. `None`: nobody can tell.
    ///
    /// Log is not only commits: checkpoints are in it, and transactions that were never ended.
    pub lost_bytes: Option<u64>,
    /// The higher timeline that was seen before, if Patroni went back behind it: all that was written there is lost.
    pub abandoned: Option<u32>,
    /// The place of the old one among the nodes.
    pub(super) node: usize,
    old_timeline: Option<u32>,
    fork: Option<Lsn>,
}

/// Who led last, as far as it was seen.
#[derive(Debug, Clone)]
pub(super) struct Led {
    pub(super) node: usize,
    name: Arc<str>,
    server: ServerMark,
    timeline: Option<u32>,
    /// The furthest that its log was seen.
    pub(super) end: Lsn,
    /// The timeline that was given up since.
    abandoned: Option<u32>,
}

impl Led {
    fn new(node: usize, name: &Arc<str>, report: &NodeReport) -> Self {
        Led {
            node,
            name: name.clone(),
            server: report.server,
            timeline: report.timeline,
            end: report.lsn,
            abandoned: None,
        }
    }

    fn is(&self, name: &Arc<str>, report: &NodeReport) -> bool {
        let is_same = self.abandoned.is_none() && (self.name == *name || self.server == report.server);
        is_same && report.timeline <= self.timeline.or(report.timeline)
    }
}

/// The primary's past.
#[derive(Debug, Default)]
pub(super) struct Succession {
    pub(super) led: Option<Led>,
    /// When the first sign of trouble with the primary was seen that no later answer has dispelled.
    trouble: Option<Instant>,
    pub(super) latest: Option<Arc<Takeover>>,
}

impl Succession {
    /// Notes that the node did not answer, or that there is no primary.
    pub(super) fn doubts(&mut self, node: Option<usize>, at: Instant) {
        if self.led.as_ref().is_some_and(|led| node.is_none_or(|node| node == led.node)) {
            self.trouble = Some(self.trouble.map_or(at, |known| known.min(at)));
        }
    }

    /// Notes who leads now, `asked` then; `follower` is the run of the server in which it was seen as a replica before.
    pub(super) fn leads(
        &mut self,
        (node, name): (usize, &Arc<str>),
        (report, asked): (&NodeReport, Instant),
        follower: Option<ServerMark>,
        forks: &BTreeMap<u32, Lsn>,
        now: Instant,
    ) {
        if let Some(led) = &mut self.led
            && led.is(name, report)
        {
            (led.node, led.end) = (node, led.end.max(report.lsn));
            (led.server, led.timeline) = (report.server, report.timeline.or(led.timeline));
            self.trouble = self.trouble.filter(|since| *since >= asked);
            return;
        }
        let next = Led::new(node, name, report);
        let Some(led) = self.led.replace(next) else { return };
        // One that was started again since its promotion tells the end of its recovery instead.
        let fork = if follower == Some(report.server) { fork(led.timeline, report.timeline, forks) } else { None };
        self.latest = Some(Arc::new(Takeover {
            number: self.latest.as_ref().map_or(0, |latest| latest.number) + 1,
            from: led.name,
            to: name.clone(),
            timeline: report.timeline,
            outage: self.trouble.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            lost_bytes: fork.map(|fork| led.end.bytes_since(fork)),
            abandoned: led.abandoned,
            node: led.node,
            old_timeline: led.timeline,
            fork,
        }));
    }

    /// Notes that whoever leads next does so on an earlier timeline: `abandoned` is given up.
    pub(super) fn goes_back(&mut self, abandoned: u32) {
        if let Some(led) = &mut self.led {
            led.abandoned = Some(abandoned);
        }
    }

    /// Notes what a node says that led before: more may be lost than was seen when it was replaced.
    pub(super) fn hears_of_the_old_one(&mut self, node: usize, report: &NodeReport) {
        let Some(latest) = &mut self.latest else { return };
        let is_it = node == latest.node && report.role == Role::Primary && report.timeline == latest.old_timeline;
        let (true, Some(fork)) = (is_it, latest.fork) else { return };
        let lost = report.lsn.bytes_since(fork);
        if latest.lost_bytes.is_some_and(|known| lost > known) {
            Arc::make_mut(latest).lost_bytes = Some(lost);
        }
    }
}

/// Where the log of `old` ends that is in that of `new` too, if each timeline since is known.
fn fork(old: Option<u32>, new: Option<u32>, forks: &BTreeMap<u32, Lsn>) -> Option<Lsn> {
    let (old, new) = (old?, new?);
    let known = forks.range(old.saturating_add(1)..=new.max(old.saturating_add(1)));
    let (count, first) = known
        .fold((0, None::<Lsn>), |(n, least), (_, fork)| (n + 1, Some(least.map_or(*fork, |least| least.min(*fork)))));
    first.filter(|_| new > old && count == new - old)
}

/// A position of an earlier timeline as one of timeline `current`, and whether what was written there is lost.
///
/// A position after the point where its timeline was left stands for nothing any more: that point takes its place. So a replica that
/// has not replayed what came before it is not taken for one that has, because of its later timeline.
pub(super) fn carried_over(position: Position, current: u32, forks: &BTreeMap<u32, Lsn>) -> (Position, bool) {
    if position.timeline >= current {
        return (position, false);
    }
    let left = forks.range(position.timeline + 1..=current).map(|(_, fork)| *fork).min();
    let lost = left.is_some_and(|left| position.lsn > left);
    let lsn = left.map_or(position.lsn, |left| left.min(position.lsn));
    (Position { timeline: current, lsn }, lost)
}

#[cfg(test)]
#[path = "takeover/tests.rs"]
mod tests;
