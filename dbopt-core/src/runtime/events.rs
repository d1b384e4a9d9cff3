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
use crate::cluster::Topology;
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
    fn note_topology(&self, before: &Topology, after: &Topology) {
        if before.primary != after.primary {
            match after.primary.and_then(|i| after.nodes.get(i)) {
                Some(node) => self.note(EventKind::Primary, node.name.clone(), "is the primary".into()),
                None => self.note(EventKind::Primary, "cluster".into(), "no node accepts writes".into()),
            }
        }
        if let Some(takeover) = after.takeover.as_ref().filter(|_| before.takeover != after.takeover) {
            let is_known = before.takeover.as_ref().is_some_and(|known| known.number == takeover.number);
            let text = if is_known {
                let loss = crate::alert::loss_in_words(takeover.lost_bytes);
                tracing::warn!(node = %takeover.from, "the old primary is back, and tells more: {loss}");
                format!("{} is back, and tells more: {loss}", takeover.from)
            } else {
                takeover::in_words(takeover)
            };
            self.note(EventKind::Failover, takeover.to.clone(), text);
        }
        for (old, new) in before.nodes.iter().zip(&after.nodes).filter(|(old, new)| old.state != new.state) {
            let cause = new.cause.as_ref().map_or(String::new(), |cause| format!(": {cause}"));
            let text = format!("{} -> {}{cause}", old.state.name(), new.state.name());
            self.note(EventKind::Node, new.name.clone(), text);
        }
    }
}

/// Notes what changes, for as long as the runtime lives.
pub(super) async fn watch<B: Backend>(runtime: Weak<Runtime<B>>) {
    let Some((mut changes, mut seen)) =
        runtime.upgrade().map(|runtime| (runtime.cluster.changes(), runtime.cluster.topology().clone()))
    else {
        return;
    };
    let mut transitions = HashMap::new();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            _ = ticks.tick() => {}
        }
        let Some(runtime) = runtime.upgrade() else { return };
        let now = runtime.cluster.topology().clone();
        runtime.events.note_topology(&seen, &now);
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
}
