//! The cluster as this instance sees it: one snapshot, and what became known since.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::sync::{Notify, futures::Notified, watch};
use tokio::time::Instant;

use super::config::Config;
use super::host::HostReading;
use super::patroni::Said;
use super::state::{NodeState, NodeView, Topology};
use super::topology::{Memory, Places, Rules, Word};
use super::trust::Patience;
use crate::backend::Upstream;
use crate::owner::{self, Alone};
use crate::position::{Lsn, Position};

/// A node to watch.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its name.
    pub name: Arc<str>,
    /// Host and port of its URL; `None` for a socket of this machine.
    pub place: Option<(Arc<str>, u16)>,
    /// Whether it is a slot with nobody in it yet.
    pub vacant: bool,
}

/// The cluster as seen by this instance; calls read it, [`Watcher`](super::Watcher)s write it.
#[derive(Debug)]
pub struct Cluster {
    config: Config,
    rules: Rules,
    snapshot: ArcSwap<Topology>,
    memory: Mutex<Memory>,
    signals: Vec<Signals>,
    changes: watch::Sender<u64>,
    born: Instant,
}

/// So many parts those are in who wait for the loss of a node.
const LISTENERS: usize = 8;

/// What is known of a node between two snapshots.
#[derive(Debug, Default)]
struct Signals {
    /// A call met an error that points at the node; cleared by the next answered probe.
    suspect: AtomicBool,
    /// When it answered last although it had been suspect, in milliseconds of the cluster's own clock; 0: never.
    answered: AtomicU64,
    /// The furthest position seen there on the snapshot's timeline.
    visible: AtomicU64,
    /// Calls in a row that waited in vain for it to catch up.
    vain_waits: AtomicU32,
    /// Until when nobody waits for it, in milliseconds of the cluster's own clock.
    behind_until: AtomicU64,
    /// Every call waits for this: in parts, or each of them would wait for one lock twice.
    lost: [Alone<Notify>; LISTENERS],
    recheck: Notify,
}

impl Signals {
    /// Tells every call there.
    fn is_lost(&self) {
        self.lost.iter().for_each(|part| part.notify_waiters());
    }

    /// Somebody else is there.
    fn forget(&self) {
        self.suspect.store(false, Ordering::Relaxed);
        for number in [&self.answered, &self.visible, &self.behind_until] {
            number.store(0, Ordering::Relaxed);
        }
        self.vain_waits.store(0, Ordering::Relaxed);
    }
}

impl Cluster {
    /// A cluster of which nothing is known yet; reads may be `max_lag` behind.
    pub fn new(nodes: Vec<Watched>, config: Config, max_lag: Duration) -> Arc<Self> {
        let rules = Rules {
            max_lag,
            fresh: config.probe_interval.mul_f64(2.0 * STRETCH) + config.probe_timeout,
            patience: Patience { first: config.hold_down, longest: config.hold_down_max, memory: config.flap_memory },
            limits: config.host.limits(),
            reading_holds: config.host.reading_holds(),
        };
        let vacant: Vec<bool> = nodes.iter().map(|node| node.vacant).collect();
        let (names, places): (Vec<_>, Vec<_>) = nodes.into_iter().map(|node| (node.name, node.place)).unzip();
        let mut memory = Memory::new(&names, Places::new(places));
        memory.nodes.iter_mut().zip(vacant).for_each(|(node, vacant)| node.vacant = vacant);
        let unknown = memory.topology(Instant::now(), &rules);
        Arc::new(Cluster {
            signals: names.iter().map(|_| Signals::default()).collect(),
            snapshot: ArcSwap::from_pointee(unknown),
            memory: Mutex::new(memory),
            changes: watch::Sender::new(0),
            born: Instant::now(),
            config,
            rules,
        })
    }

    /// The cluster as it was last seen.
    pub fn topology(&self) -> Guard<Arc<Topology>> {
        self.snapshot.load()
    }

    /// The node's name.
    pub fn name(&self, node: usize) -> Arc<str> {
        self.topology().nodes[node].name.clone()
    }

    /// Whether nobody is in this slot.
    pub fn is_vacant(&self, node: usize) -> bool {
        self.topology().nodes[node].state == NodeState::Vacant
    }

    /// Notes that another server is in the slot, of which nothing is known yet: it is asked at once.
    pub(crate) fn occupy(&self, node: usize, name: Arc<str>, place: Option<(Arc<str>, u16)>) {
        self.change(|memory| memory.begin_anew(node, Some(name), place));
        self.signals[node].forget();
        self.recheck(node);
    }

    /// Notes that nobody is in the slot any more. Calls that run there end as they would have.
    pub(crate) fn vacate(&self, node: usize) {
        self.change(|memory| memory.begin_anew(node, None, None));
        self.signals[node].forget();
    }

    /// Changes its value whenever a node changes its role or state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Notes that a call met an error that points at the node: it is avoided at once and asked at once.
    pub fn suspect(&self, node: usize) {
        if let Some(signals) = self.signals.get(node) {
            if !signals.suspect.swap(true, Ordering::Relaxed) {
                self.doubt(node, Instant::now());
            }
            signals.recheck.notify_one();
        }
    }

    /// Notes that the node gave no answer to what was asked `at`: if it is the primary, that is when its loss began, unless it answers again.
    pub(super) fn doubt(&self, node: usize, at: Instant) {
        self.memory.lock().past.doubts(Some(node), at);
    }

    /// Notes that a call found the node to be something else than it was thought to be: it is asked at once.
    pub fn recheck(&self, node: usize) {
        if let Some(signals) = self.signals.get(node) {
            signals.recheck.notify_one();
        }
    }

    /// Whether calls met errors that point at the node since it last answered.
    pub fn is_suspect(&self, node: usize) -> bool {
        self.signals[node].suspect.load(Ordering::Relaxed)
    }

    /// When the node answered its monitor last although calls had met errors there.
    pub fn answered(&self, node: usize) -> Option<Instant> {
        let ms = self.signals[node].answered.load(Ordering::Relaxed);
        (ms > 0).then(|| self.born + Duration::from_millis(ms))
    }

    /// Completes when, after this call, the node is found unreachable, or another one has become the primary in its place.
    pub fn lost(&self, node: usize) -> Notified<'_> {
        self.signals[node].lost[owner::number() % LISTENERS].notified()
    }

    /// Notes that readers of the node see everything up to `position`.
    pub fn shows(&self, node: usize, position: Position) {
        let known = self.topology().nodes.get(node).and_then(|n| n.position);
        if known.is_some_and(|k| k.timeline == position.timeline) {
            self.signals[node].visible.fetch_max(position.lsn.0, Ordering::Relaxed);
        }
    }

    /// The furthest position that readers of the node are known to see.
    pub fn visible(&self, topology: &Topology, node: usize) -> Option<Position> {
        let known = topology.nodes.get(node)?.position?;
        let lsn = self.signals[node].visible.load(Ordering::Relaxed).max(known.lsn.0);
        Some(Position { lsn: Lsn(lsn), ..known })
    }

    /// Notes whether a call that waited for the node to catch up saw it do so. After some that did not, nobody waits for a second: the
    /// node is really behind, not merely a moment late.
    pub fn waited_for(&self, node: usize, caught_up: bool) {
        const IN_A_ROW: u32 = 8;
        let signals = &self.signals[node];
        if caught_up {
            signals.vain_waits.store(0, Ordering::Relaxed);
        } else if signals.vain_waits.fetch_add(1, Ordering::Relaxed) + 1 >= IN_A_ROW {
            let until = self.born.elapsed() + Duration::from_secs(1);
            signals.behind_until.store(until.as_millis() as u64, Ordering::Relaxed);
        }
    }

    /// Whether calls have lately waited in vain for the node to catch up, one after another.
    pub fn keeps_waiting(&self, node: usize) -> bool {
        let until = self.signals[node].behind_until.load(Ordering::Relaxed);
        until > 0 && (self.born.elapsed().as_millis() as u64) < until
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Completes when somebody wants the node to be asked at once.
    pub(super) fn rechecks(&self, node: usize) -> Notified<'_> {
        self.signals[node].recheck.notified()
    }

    /// Takes a node's word and publishes the snapshot that follows.
    pub(super) fn hear(&self, node: usize, word: Word) {
        let answered = matches!(word, Word::Report(_));
        let (before, after) = self.publish(|memory| memory.nodes[node].word = word);
        let signals = &self.signals[node];
        let cleared = answered && signals.suspect.swap(false, Ordering::Relaxed);
        if cleared {
            signals.answered.store(self.born.elapsed().as_millis() as u64, Ordering::Relaxed);
        }
        let timeline = |t: &Topology| t.nodes[node].position.map(|p| p.timeline);
        if timeline(&before) != timeline(&after) {
            signals.visible.store(0, Ordering::Relaxed);
        }
        let told = self.tell(&before, &after);
        if cleared && !told && after.primary == Some(node) {
            // Nothing has changed but that calls may go there.
            self.changes.send_modify(|n| *n += 1);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Memory)) {
        let (before, after) = self.publish(change);
        self.tell(&before, &after);
    }

    /// Changes what is remembered and publishes what follows; gives the snapshots before and after.
    fn publish(&self, change: impl FnOnce(&mut Memory)) -> (Arc<Topology>, Arc<Topology>) {
        let mut memory = self.memory.lock();
        if let Some(led) = &mut memory.past.led {
            // Calls may have seen more of its log than the monitor.
            led.end = led.end.max(Lsn(self.signals[led.node].visible.load(Ordering::Relaxed)));
        }
        change(&mut memory);
        let after = Arc::new(memory.topology(Instant::now(), &self.rules));
        (self.snapshot.swap(after.clone()), after)
    }

    /// Takes Patroni's word on who leads.
    pub(super) fn patroni_says(&self, said: Said) {
        if self.memory.lock().said != said {
            self.change(|memory| memory.said = said);
        }
    }

    /// Asks the nodes at once that may be the leader.
    pub(super) fn recheck_leader(&self) {
        let nodes = self.memory.lock().allowed_to_lead();
        nodes.into_iter().for_each(|node| self.recheck(node));
    }

    /// The identity that the nodes of the cluster share, once it is known.
    pub(super) fn system_identifier(&self) -> Option<u64> {
        self.memory.lock().system_identifier()
    }

    /// The names that must be resolved to know which nodes are at these addresses.
    pub(super) fn unresolved_of(&self, places: &[Upstream]) -> Vec<Arc<str>> {
        let memory = self.memory.lock();
        let mut names: Vec<_> =
            places.iter().flat_map(|place| memory.places.unresolved(place, Instant::now())).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The names that must be resolved to know which node feeds this one.
    pub(super) fn unresolved(&self, node: usize) -> Vec<Arc<str>> {
        let topology = self.topology();
        let Some(feeder) = &topology.nodes[node].details.feeder else { return Vec::new() };
        self.memory.lock().places.unresolved(&feeder.address, Instant::now())
    }

    /// Notes what a name resolves to.
    pub(super) fn resolves(&self, host: Arc<str>, addresses: Vec<IpAddr>) {
        self.memory.lock().places.note(host, addresses, Instant::now());
    }

    /// Notes how busy a node's machine is; the next snapshot shows it.
    pub(crate) fn host_is(&self, node: usize, reading: HostReading) {
        self.memory.lock().nodes[node].host.note(Instant::now(), reading);
    }

    /// Notes that nobody is asked how busy a node's machine is.
    pub(crate) fn host_has_no_source(&self, node: usize, why: &str) {
        self.memory.lock().nodes[node].host.miss(why.into());
    }

    /// Notes why nobody can tell how busy a node's machine is.
    pub(crate) fn host_is_unknown(&self, node: usize, why: String) {
        if self.memory.lock().nodes[node].host.miss(why.clone()) {
            tracing::warn!(node = %self.name(node), "its machine's statistics are absent: {why}");
        }
    }

    /// Tells those who need to know what has changed; whether anything has.
    fn tell(&self, before: &Topology, after: &Topology) -> bool {
        let lost = |t: &Topology| t.primary.is_none_or(|i| t.nodes[i].state == NodeState::Unreachable);
        let mut changed = before.primary != after.primary;
        if let (true, Some(primary)) = (changed, after.primary) {
            tracing::info!(node = %after.nodes[primary].name, epoch = after.epoch, "primary");
        }
        for warning in after.warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        // What the others say may be from before, and who leads now depends on it.
        if changed || !lost(before) && lost(after) {
            self.signals.iter().for_each(|signals| signals.recheck.notify_one());
        }
        for (i, (old, new)) in before.nodes.iter().zip(&after.nodes).enumerate() {
            if old.state == new.state && old.role == new.role {
                continue;
            }
            changed = true;
            log(old, new);
            if new.state == NodeState::Unreachable {
                self.signals[i].is_lost();
            }
        }
        if let Some(takeover) = after.takeover.as_ref().filter(|_| before.takeover != after.takeover) {
            changed = true;
            // What still runs on the old one ends: it would be lost, and its callers told that it was done.
            if after.primary != Some(takeover.node) {
                self.signals[takeover.node].is_lost();
            }
        }
        if changed {
            self.changes.send_modify(|n| *n += 1);
        }
        changed
    }
}

/// A pause between probes is this much longer than it should be, at most, and as much shorter at least.
pub(super) const STRETCH: f64 = 1.1;

/// Says what became of a node; of one that flaps only to those who look closely.
fn log(old: &NodeView, new: &NodeView) {
    let (name, cause) = (&new.name, new.cause.as_deref().unwrap_or(""));
    match new.state {
        state if new.details.flaps && old.state != NodeState::Unknown => {
            tracing::debug!(node = %name, ?state, "node flaps: {cause}");
        }
        NodeState::Vacant => tracing::info!(node = %name, "node left: its address is gone from DNS"),
        NodeState::Unknown => tracing::info!(node = %name, "node came: its address was found in DNS"),
        NodeState::Healthy => tracing::info!(node = %name, role = ?new.role, "node is healthy"),
        NodeState::Returning => tracing::info!(node = %name, "node returns: {cause}"),
        NodeState::Degraded => tracing::warn!(node = %name, "node is degraded: {cause}"),
        state => tracing::warn!(node = %name, ?state, "node is not used: {cause}"),
    }
}
