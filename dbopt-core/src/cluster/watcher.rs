//! Asks one node what it is, again and again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::config;
use super::monitor::{Cluster, STRETCH};
use super::state::NodeState;
use super::topology::{Heard, Word};
use super::trust::Answers;
use crate::backend::{Backend, Connection, Endpoint, NodeReport, Purpose, Site};
use crate::error::Reason;
use crate::random;

/// How often a node is asked at least whose return is awaited.
const SOON: Duration = Duration::from_secs(2);

/// For how long nodes are asked ten times as often when the primary is lost: callers wait for another one.
const HASTE: Duration = Duration::from_secs(30);

/// Asks one node again and again.
pub struct Watcher<B: Backend> {
    backend: Arc<B>,
    site: Site,
    node: usize,
    cluster: Arc<Cluster>,
    connection: Option<B::Connection>,
    /// Whom the connection and the answers are of.
    known: Option<Arc<Endpoint>>,
    answers: Answers,
    /// When the last probe began.
    asked: Instant,
    /// Since when there has been no primary, as far as it has noticed.
    leaderless: Option<Instant>,
}

impl<B: Backend> Watcher<B> {
    /// Watches the node at place `node` of `cluster`.
    pub fn new(backend: Arc<B>, site: impl Into<Site>, node: usize, cluster: Arc<Cluster>) -> Self {
        Watcher {
            backend,
            site: site.into(),
            node,
            cluster,
            connection: None,
            known: None,
            answers: Answers::default(),
            asked: Instant::now(),
            leaderless: None,
        }
    }

    /// Asks for ever; ends when the future is dropped.
    pub async fn run(mut self) {
        loop {
            let interval = self.interval();
            let cluster = self.cluster.clone();
            // All instances would otherwise ask at the same moment, once they were started at the same moment.
            let pause =
                interval.mul_f64(2.0 - STRETCH + 2.0 * (STRETCH - 1.0) * random::fraction()).min(config::LONGEST);
            tokio::select! {
                () = sleep(pause) => {}
                () = cluster.rechecks(self.node) => sleep_until(self.asked + interval.min(SOON) / 20).await,
            }
            self.ask().await;
            self.resolve().await;
        }
    }

    /// A node that is lost is asked often enough to be back soon after it is well, and any node that may be the next primary.
    fn interval(&mut self) -> Duration {
        let usual = self.cluster.config().probe_interval;
        let topology = self.cluster.topology();
        let is_awaited = topology.primary.is_none() && topology.epoch > 0;
        self.leaderless = is_awaited.then(|| self.leaderless.unwrap_or_else(Instant::now));
        if self.leaderless.is_some_and(|since| since.elapsed() < HASTE) {
            return usual.min(SOON) / 10;
        }
        match topology.nodes[self.node].state {
            NodeState::Unreachable | NodeState::Returning => usual.min(SOON),
            _ => usual,
        }
    }

    /// Asks once, if there is anybody, and publishes what was learned.
    pub async fn ask(&mut self) {
        let endpoint = self.site.endpoint();
        let is_there = |watcher: &Self| !watcher.cluster.is_vacant(watcher.node) && watcher.site.is_still(&endpoint);
        if !is_there(self) || self.known.as_ref().is_some_and(|known| !Arc::ptr_eq(known, &endpoint)) {
            (self.connection, self.answers) = (None, Answers::default());
        }
        if !is_there(self) {
            return;
        }
        self.known = Some(endpoint.clone());
        let knobs = self.cluster.config();
        let (limit, misses, of) = (knobs.probe_timeout, knobs.probe_misses, knobs.probe_window);
        self.asked = Instant::now();
        let answer = timeout(limit, self.report(&endpoint)).await;
        if !is_there(self) {
            // What it said is nothing that whoever comes after it said.
            return;
        }
        let (sure, cause) = match answer {
            Ok(Ok(report)) => {
                self.answers.note(true, misses, of);
                let heard = Heard { report, asked: self.asked, at: Instant::now() };
                return self.cluster.hear(self.node, Word::Report(heard));
            }
            Ok(Err((reason, cause))) => (!matches!(reason, Reason::ConnectTimeout | Reason::ServerFull), Some(cause)),
            Err(_) => (false, None),
        };
        self.connection = None;
        // Whoever was not let run for so long cannot say that the others were silent.
        if !sure && self.asked.elapsed() > limit * 2 {
            return self.cluster.recheck(self.node);
        }
        let silent = self.answers.note(false, misses, of);
        self.cluster.doubt(self.node, self.asked);
        if !sure && !silent {
            // Asked again at once: whether it is frozen or was only slow should be known soon.
            return self.cluster.recheck(self.node);
        }
        let late = || format!("no answer within {limit:?}, {} times lately", self.answers.missed());
        self.cluster.hear(self.node, Word::Silent(cause.unwrap_or_else(late)));
    }

    /// Finds the addresses of names that a replica's upstream may be known by.
    async fn resolve(&self) {
        for host in self.cluster.unresolved(self.node) {
            let looked_up = timeout(self.cluster.config().probe_timeout, tokio::net::lookup_host((&*host, 0))).await;
            let addresses: Vec<IpAddr> = looked_up.map_or_else(
                |_| Vec::new(),
                |found| found.map_or_else(|_| Vec::new(), |all| all.map(|a| a.ip()).collect()),
            );
            self.cluster.resolves(host, addresses);
        }
    }

    async fn report(&mut self, endpoint: &Endpoint) -> Result<NodeReport, (Reason, String)> {
        if let Some(connection) = &mut self.connection {
            if let Ok(report) = connection.report().await {
                return Ok(report);
            }
            self.connection = None;
        }
        let mut fresh = self.backend.connect(endpoint, Purpose::Probe).await.map_err(|e| (e.reason, e.message))?;
        let report = fresh.report().await.map_err(|f| (Reason::Other, f.message))?;
        self.connection = Some(fresh);
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fake::FakeCluster;
    use crate::backend::{ConnectError, Role};
    use crate::cluster::{Config, Watched};

    /// Watches `n0` and `n1` for so long; `between` happens after half of it.
    async fn watch(fake: &FakeCluster, time: Duration, between: impl FnOnce(&Cluster)) -> Arc<Cluster> {
        let nodes = ["n0", "n1"].map(|name| Watched { name: name.into(), place: None, vacant: false });
        let cluster = Cluster::new(nodes.to_vec(), Config::default(), Duration::from_secs(5));
        let backend = Arc::new(fake.clone());
        let watchers: Vec<_> = (0..2)
            .map(|i| {
                let endpoint = Endpoint::new(cluster.name(i), format!("fake://n{i}"));
                tokio::spawn(Watcher::new(backend.clone(), endpoint, i, cluster.clone()).run())
            })
            .collect();
        sleep(time / 2).await;
        between(&cluster);
        sleep(time / 2).await;
        watchers.iter().for_each(|watcher| watcher.abort());
        cluster
    }

    #[tokio::test(start_paused = true)]
    async fn every_node_is_asked_each_second_give_or_take_a_tenth() {
        let fake = FakeCluster::default();
        let cluster = watch(&fake, Duration::from_secs(100), |_| {}).await;
        assert!(cluster.topology().nodes.iter().all(|node| node.state == NodeState::Healthy));
        let mut gaps = Vec::new();
        for name in ["n0", "n1"] {
            let asked = fake.node(name).reports.lock().clone();
            gaps.extend(asked.windows(2).map(|pair| pair[1] - pair[0]));
        }
        let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
        // What changed at the start has the others asked at once.
        assert!(*most <= Duration::from_millis(1102) && gaps.len() > 180, "{most:?} {}", gaps.len());
        assert!(*least >= Duration::from_millis(49), "{least:?}");
        let usual: Vec<_> = gaps.iter().filter(|gap| **gap >= Duration::from_millis(899)).collect();
        assert!(usual.len() > 175 && usual.iter().any(|gap| **gap > Duration::from_millis(1050)), "{gaps:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn suspicion_asks_at_once_and_never_in_a_tight_loop() {
        let fake = FakeCluster::default();
        fake.node("n0");
        let calm = watch(&fake, Duration::from_secs(10), |_| {}).await;
        let before = fake.node("n1").reports.lock().len();
        let cluster = watch(&fake, Duration::from_secs(10), |cluster| (0..1000).for_each(|_| cluster.suspect(1))).await;
        let more = fake.node("n1").reports.lock().len() - before;
        assert!((before..=before + 5).contains(&more), "{before} {more}");
        assert!(!cluster.is_suspect(1) && cluster.answered(1).is_some() && calm.answered(1).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_primary_is_found_soon_and_not_awaited_in_haste_for_ever() {
        let fake = FakeCluster::default();
        let role = |name: &str, role| fake.node(name).report.lock().role = role;
        role("n0", Role::Primary);
        role("n1", Role::Replica);
        let nodes = ["n0", "n1"].map(|name| Watched { name: name.into(), place: None, vacant: false });
        let cluster = Cluster::new(nodes.to_vec(), Config::default(), Duration::from_secs(5));
        let watchers: Vec<_> = (0..2)
            .map(|i| {
                let endpoint = Endpoint::new(cluster.name(i), format!("fake://n{i}"));
                tokio::spawn(Watcher::new(Arc::new(fake.clone()), endpoint, i, cluster.clone()).run())
            })
            .collect();
        sleep(Duration::from_secs(3)).await;
        assert_eq!(cluster.topology().primary, Some(0));
        role("n0", Role::Replica);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(cluster.topology().primary, None);
        role("n1", Role::Primary);
        sleep(Duration::from_millis(130)).await;
        assert_eq!(cluster.topology().primary, Some(1));
        role("n1", Role::Replica);
        sleep(HASTE + Duration::from_secs(5)).await;
        let before = fake.node("n0").reports.lock().len();
        sleep(Duration::from_secs(10)).await;
        assert!(fake.node("n0").reports.lock().len() - before < 14);
        watchers.iter().for_each(|watcher| watcher.abort());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_times_out_twice_is_left() {
        let fake = FakeCluster::default();
        fake.node("n0");
        let cluster = watch(&fake, Duration::from_secs(4), |_| {
            let node = fake.node("n1");
            *node.refuses.lock() = Some(ConnectError::new(Reason::ConnectTimeout, "no answer"));
        })
        .await;
        let seen = cluster.topology();
        assert_eq!(seen.nodes[1].state, NodeState::Unreachable);
        assert_eq!(seen.nodes[1].details.losses, 1);
    }
}
