//! Asks every node what it is and publishes the snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::sync::{Notify, futures::Notified, watch};
use tokio::time::{Instant, sleep, timeout};

use super::config::Config;
use super::topology::{Memory, NodeState, Topology, Word};
use crate::backend::{Backend, Connection, Endpoint, NodeReport, Purpose};
use crate::error::Reason;
use crate::position::{Lsn, Position};

/// The cluster as seen by this instance; calls read it, [`Watcher`]s write it.
#[derive(Debug)]
pub struct Cluster {
    names: Vec<Arc<str>>,
    config: Config,
    snapshot: ArcSwap<Topology>,
    memory: Mutex<Memory>,
    signals: Vec<Signals>,
    changes: watch::Sender<u64>,
    born: Instant,
}

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
    lost: Notify,
    recheck: Notify,
}

impl Cluster {
    /// A cluster of which nothing is known yet.
    pub fn new(names: Vec<Arc<str>>, config: Config) -> Arc<Self> {
        let mut memory = Memory { words: vec![Word::None; names.len()], ..Memory::default() };
        let unknown = memory.topology(&names, Instant::now(), Duration::ZERO);
        Arc::new(Cluster {
            signals: names.iter().map(|_| Signals::default()).collect(),
            snapshot: ArcSwap::from_pointee(unknown),
            memory: Mutex::new(memory),
            changes: watch::Sender::new(0),
            born: Instant::now(),
            names,
            config,
        })
    }

    /// The cluster as it was last seen.
    pub fn topology(&self) -> Guard<Arc<Topology>> {
        self.snapshot.load()
    }

    /// The nodes' names, in the order of the configuration.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Changes its value whenever a node changes its role or state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Notes that a call met an error that points at the node: it is avoided at once and asked at once.
    pub fn suspect(&self, node: usize) {
        if let Some(signals) = self.signals.get(node) {
            signals.suspect.store(true, Ordering::Relaxed);
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

    /// Completes when the node is found unreachable after this call.
    pub fn lost(&self, node: usize) -> Notified<'_> {
        self.signals[node].lost.notified()
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

    /// How old the last sample of the primary may be before lag counts as unknown.
    fn fresh(&self) -> Duration {
        self.config.probe_interval * 2 + self.config.probe_timeout
    }

    fn hear(&self, node: usize, word: Word) {
        let answered = matches!(word, Word::Report(_));
        let (before, after) = {
            let mut memory = self.memory.lock();
            memory.words[node] = word;
            let after = Arc::new(memory.topology(&self.names, Instant::now(), self.fresh()));
            (self.snapshot.swap(after.clone()), after)
        };
        let signals = &self.signals[node];
        if answered && signals.suspect.swap(false, Ordering::Relaxed) {
            signals.answered.store(self.born.elapsed().as_millis() as u64, Ordering::Relaxed);
        }
        let timeline = |t: &Topology| t.nodes[node].position.map(|p| p.timeline);
        if timeline(&before) != timeline(&after) {
            signals.visible.store(0, Ordering::Relaxed);
        }
        self.tell(&before, &after);
    }

    fn tell(&self, before: &Topology, after: &Topology) {
        let mut changed = before.primary != after.primary;
        if let (true, Some(primary)) = (changed, after.primary) {
            tracing::info!(node = %self.names[primary], epoch = after.epoch, "primary");
        }
        for (i, (old, new)) in before.nodes.iter().zip(&after.nodes).enumerate() {
            if old.state == new.state && old.role == new.role {
                continue;
            }
            changed = true;
            let cause = new.cause.as_deref().unwrap_or("");
            match new.state {
                NodeState::Healthy => tracing::info!(node = %new.name, role = ?new.role, "node is healthy"),
                state => tracing::warn!(node = %new.name, ?state, "node is not used: {cause}"),
            }
            if new.state == NodeState::Unreachable {
                self.signals[i].lost.notify_waiters();
            }
        }
        if changed {
            self.changes.send_modify(|n| *n += 1);
        }
    }
}

/// Asks one node again and again.
pub struct Watcher<B: Backend> {
    backend: Arc<B>,
    endpoint: Endpoint,
    node: usize,
    cluster: Arc<Cluster>,
    connection: Option<B::Connection>,
    misses: u32,
}

impl<B: Backend> Watcher<B> {
    /// Watches the node at place `node` of `cluster`.
    pub fn new(backend: Arc<B>, endpoint: Endpoint, node: usize, cluster: Arc<Cluster>) -> Self {
        Watcher { backend, endpoint, node, cluster, connection: None, misses: 0 }
    }

    /// Asks for ever; ends when the future is dropped.
    pub async fn run(mut self) {
        loop {
            let interval = self.cluster.config.probe_interval;
            let cluster = self.cluster.clone();
            tokio::select! {
                () = sleep(interval) => {}
                () = cluster.signals[self.node].recheck.notified() => {}
            }
            self.ask().await;
        }
    }

    /// Asks once and publishes what was learned.
    pub async fn ask(&mut self) {
        let limit = self.cluster.config.probe_timeout;
        let word = match timeout(limit, self.report()).await {
            Ok(Ok(report)) => {
                self.misses = 0;
                Word::Report(report)
            }
            Ok(Err((reason, cause))) => {
                self.misses += 1;
                self.connection = None;
                let sure = !matches!(reason, Reason::ConnectTimeout | Reason::ServerFull);
                if !sure && self.misses < self.cluster.config.probe_misses {
                    return self.cluster.signals[self.node].recheck.notify_one();
                }
                Word::Silent(cause)
            }
            Err(_) => {
                self.misses += 1;
                self.connection = None;
                if self.misses < self.cluster.config.probe_misses {
                    // Asked again at once: whether it is frozen or was only slow should be known soon.
                    return self.cluster.signals[self.node].recheck.notify_one();
                }
                Word::Silent(format!("no answer within {limit:?}, {} times in a row", self.misses))
            }
        };
        self.cluster.hear(self.node, word);
    }

    async fn report(&mut self) -> Result<NodeReport, (Reason, String)> {
        if let Some(connection) = &mut self.connection {
            if let Ok(report) = connection.report().await {
                return Ok(report);
            }
            self.connection = None;
        }
        let mut fresh =
            self.backend.connect(&self.endpoint, Purpose::Probe).await.map_err(|e| (e.reason, e.message))?;
        let report = fresh.report().await.map_err(|f| (Reason::Other, f.message))?;
        self.connection = Some(fresh);
        Ok(report)
    }
}
