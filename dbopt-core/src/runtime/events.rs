//! What happened lately: the last changes of nodes, circuits and alerts, for people who look at the status.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Runtime, takeover};
use crate::alert::Notification;
use crate::backend::Backend;
use crate::cluster::{NodeState, Topology};
use crate::op::Lane;

/// How many are kept.
const KEPT: usize = 100;

/// How often circuits are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// Another node is the primary, or none is.
    Primary,
    /// Another node has become the primary: how long it took, and what it cost.
    Failover,
    /// A node changed its state.
    Node,
    /// A circuit opened, was tested or closed.
    Circuit,
    /// An alert began or ended.
    Alert,
    /// A method was found to repeat itself, or a plan changed for the worse.
    Query,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// How long ago, in seconds.
    pub ago_seconds: f64,
    /// What it is about.
    pub kind: EventKind,
    /// What it happened to, such as a node.
    pub subject: Arc<str>,
    /// What happened, in words.
    pub text: String,
}

/// The last events of an instance, newest first, with the times when they were noticed.
#[derive(Debug, Default)]
pub(super) struct Events(Mutex<VecDeque<(Instant, Event)>>);

impl Events {
    pub(super) fn note(&self, kind: EventKind, subject: Arc<str>, text: String) {
        let mut kept = self.0.lock();
        kept.truncate(KEPT - 1);
        kept.push_front((Instant::now(), Event { ago_seconds: 0.0, kind, subject, text }));
    }

    pub(super) fn note_alerts(&self, news: &[Notification]) {
        for news in news {
            let subject = news.rule.map_or("test", |rule| rule.name());
            self.note(EventKind::Alert, subject.into(), format!("{}: {}", news.kind.name(), news.summary));
        }
    }

    /// The last ones, newest first.
    pub(super) fn latest(&self) -> Vec<Event> {
        let aged = |(at, event): &(Instant, Event)| Event { ago_seconds: at.elapsed().as_secs_f64(), ..event.clone() };
        self.0.lock().iter().map(aged).collect()
    }

    /// What is new in the cluster.
    fn note_topology(&self, before: &Topology, after: &Topology, told: &mut Told) {
        if before.primary != after.primary {
            match after.primary.and_then(|i| after.nodes.get(i)) {
                Some(node) => self.note(EventKind::Primary, node.name.clone(), "is the primary".into()),
                None => self.note(EventKind::Primary, "cluster".into(), "no node accepts writes".into()),
            }
        }
        if let Some(takeover) = &after.takeover {
            let is_back = after.nodes().any(|node| node.name == takeover.from && node.state == NodeState::Fenced);
            let news = told.news(takeover.number, takeover.lost_bytes, is_back);
            let (old, loss) = (&takeover.from, crate::alert::loss_in_words(takeover.lost_bytes));
            let text = match news {
                None => String::new(),
                Some(FailoverNews::Happened) => takeover::in_words(takeover),
                Some(FailoverNews::Returned) => format!("{old} is back, and tells more: {loss}"),
                Some(FailoverNews::WentOn) => format!("{old} has gone on writing: {loss}"),
            };
            // That it happened was logged by whoever followed it.
            if matches!(news, Some(FailoverNews::Returned | FailoverNews::WentOn)) {
                tracing::warn!(node = %old, lost_bytes = takeover.lost_bytes, "{text}");
            }
            if news.is_some() {
                self.note(EventKind::Failover, takeover.to.clone(), text);
            }
        }
        for (old, new) in before.nodes.iter().zip(&after.nodes).filter(|(old, new)| old.state != new.state) {
            let cause = new.cause.as_ref().map_or(String::new(), |cause| format!(": {cause}"));
            let text = format!("{} -> {}{cause}", old.state.name(), new.state.name());
            self.note(EventKind::Node, new.name.clone(), text);
        }
    }
}

/// What was told of the last failover.
#[derive(Debug, Default)]
struct Told {
    number: u64,
    bytes: Option<u64>,
    /// That its old primary is back, and tells of more log.
    is_back: bool,
}

/// What is new about a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FailoverNews {
    /// It happened.
    Happened,
    /// The old primary is back, and tells that more log was lost.
    Returned,
    /// It is gone again, or follows; and has written meanwhile.
    WentOn,
}

impl Told {
    /// What is known at the start is no news.
    fn of(seen: &Topology) -> Self {
        let known = seen.takeover.as_deref();
        let (number, bytes) = known.map_or((0, None), |takeover| (takeover.number, takeover.lost_bytes));
        Told { number, bytes, is_back: false }
    }

    /// What is to be told: while the old primary goes on writing, what is lost grows with each look, and is told once.
    fn news(&mut self, number: u64, bytes: Option<u64>, is_back: bool) -> Option<FailoverNews> {
        if number != self.number {
            *self = Told { number, bytes, is_back: false };
            return Some(FailoverNews::Happened);
        }
        let was_told = self.is_back;
        self.is_back &= is_back;
        if bytes <= self.bytes || is_back && was_told {
            return None;
        }
        (self.bytes, self.is_back) = (bytes, is_back);
        Some(if is_back { FailoverNews::Returned } else { FailoverNews::WentOn })
    }
}

/// Notes what changes, for as long as the runtime lives.
pub(super) async fn watch<B: Backend>(runtime: Weak<Runtime<B>>) {
    let Some((mut changes, mut seen)) =
        runtime.upgrade().map(|runtime| (runtime.cluster.changes(), runtime.cluster.topology().clone()))
    else {
        return;
    };
    let (mut transitions, mut told) = (HashMap::new(), Told::of(&seen));
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            _ = ticks.tick() => {}
        }
        let Some(runtime) = runtime.upgrade() else { return };
        let now = runtime.cluster.topology().clone();
        runtime.events.note_topology(&seen, &now, &mut told);
        seen = now;
        runtime.note_circuits(&mut transitions);
    }
}

impl<B: Backend> Runtime<B> {
    /// Notes the transitions of circuits that `known` does not have yet.
    fn note_circuits(&self, known: &mut HashMap<(usize, Lane), u64>) {
        for (node, pools) in self.pools.iter().enumerate() {
            for pool in pools {
                let status = pool.circuit().status();
                let count = status.transitions.iter().map(|changes| changes.count).sum();
                let before = known.insert((node, pool.lane()), count).unwrap_or(0);
                // One that begins anew may have changed less often than the one before.
                if count <= before {
                    continue;
                }
                let times =
                    if count - before > 1 { format!(", after {} changes", count - before) } else { String::new() };
                let cause = status.cause.map_or(String::new(), |cause| format!(": {cause}"));
                let lane = pool.lane().name();
                let text = format!("the {lane} circuit is {}{times}{cause}", status.state.name());
                self.events.note(EventKind::Circuit, self.cluster.name(node), text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_newest_comes_first_and_old_ones_are_forgotten() {
        let events = Events::default();
        for n in 0..KEPT + 20 {
            events.note(EventKind::Node, "a".into(), n.to_string());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let latest = events.latest();
        assert_eq!((latest.len(), latest[0].text.as_str()), (KEPT, "119"));
        assert_eq!(latest[KEPT - 1].ago_seconds, KEPT as f64);
    }

    #[test]
    fn an_old_primary_that_goes_on_writing_is_told_once_for_each_return() {
        use FailoverNews::{Happened, Returned, WentOn};
        let mut told = Told::default();
        let mut news = |number, bytes, is_back| told.news(number, bytes, is_back);
        assert_eq!(news(1, Some(100), false), Some(Happened));
        assert_eq!(news(1, Some(100), false), None);
        // It returns, and takes writes from others as long as it is there.
        assert_eq!(news(1, Some(100), true), None, "nothing that was not told");
        assert_eq!(news(1, Some(200), true), Some(Returned));
        for bytes in 201..300 {
            assert_eq!(news(1, Some(bytes), true), None);
        }
        assert_eq!(news(1, Some(300), false), Some(WentOn), "what it came to");
        assert_eq!(news(1, Some(300), false), None);
        // It is there again, as it was; and again, with more.
        assert_eq!(news(1, Some(300), true), None);
        assert_eq!(news(1, Some(300), false), None);
        assert_eq!(news(1, Some(400), true), Some(Returned));
        assert_eq!(news(1, Some(400), false), None);
        assert_eq!(news(2, None, true), Some(Happened));
        assert_eq!(news(2, None, true), None, "nobody can tell");
    }
}
