//! The weights of all replicas: made anew once a second, read by every call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::latency::Latencies;
use super::schedule::Schedule;
use super::standing::Standing;
use super::weights::{self, Factors, Heat, Policy};
use crate::cluster::{Lag, NodeView, Topology};
use crate::observe::CallCounts;
use crate::owner::Alone;
use crate::random;
use crate::route::Config;

/// Spreads reads over replicas.
#[derive(Debug)]
pub struct Balancer {
    config: Config,
    capacities: Box<[f64]>,
    schedule: ArcSwap<Schedule>,
    /// Every read writes here.
    turn: Alone<AtomicUsize>,
    /// Calls that failed for a node's reasons.
    faults: Box<[AtomicU64]>,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    latencies: Latencies,
    nodes: Vec<Node>,
    looked_at: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Node {
    standing: Standing,
    heat: Heat,
    factors: Factors,
    slowness: f64,
}

/// What a replica's part of the reads is made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NodeBalance {
    /// Its weight: capacity times all factors; 0 while it gets no reads.
    pub weight: f64,
    /// What the settings say.
    pub capacity: f64,
    /// The factors.
    #[serde(flatten)]
    pub factors: Factors,
    /// How many times as long as on the fastest replica calls take there.
    pub slowness: f64,
}

impl Balancer {
    /// A balancer of nodes with these capacities, in the order of the configuration. Nobody serves before the first look.
    pub fn new(config: Config, capacities: Vec<f64>) -> Self {
        let node = Node { standing: Standing::default(), heat: Heat::default(), factors: Factors::FULL, slowness: 1.0 };
        Balancer {
            config,
            schedule: ArcSwap::from_pointee(Schedule::new(&[], false)),
            // Instances that all began with the first replica would go on together.
            turn: Alone(AtomicUsize::new(random::number() as usize)),
            faults: capacities.iter().map(|_| AtomicU64::new(0)).collect(),
            memory: Mutex::new(Memory { nodes: vec![node; capacities.len()], ..Memory::default() }),
            capacities: capacities.into(),
        }
    }

    /// Whose turn it is when.
    pub fn schedule(&self) -> Guard<Arc<Schedule>> {
        self.schedule.load()
    }

    /// The next read's number.
    pub fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// The node's capacity.
    pub fn capacity(&self, node: usize) -> f64 {
        self.capacities.get(node).copied().unwrap_or(1.0)
    }

    /// Notes that a read failed on the node for the node's reasons, wherever it went afterwards.
    pub fn failed(&self, node: usize) {
        if let Some(faults) = self.faults.get(node) {
            faults.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes the weights anew from the cluster and the calls counted so far.
    pub fn look(&self, topology: &Topology, counts: &[CallCounts], now: Instant) {
        let mut memory = self.memory.lock();
        let Memory { latencies, nodes, looked_at } = &mut *memory;
        let seconds = looked_at.replace(now).map_or(1.0, |last| now.saturating_duration_since(last).as_secs_f64());
        let serves: Vec<bool> = nodes
            .iter_mut()
            .zip(&topology.nodes)
            .map(|(node, view)| node.standing.look(view, self.config.max_lag, now))
            .collect();
        let faults: Vec<u64> = self.faults.iter().map(|faults| faults.load(Ordering::Relaxed)).collect();
        latencies.learn(counts, &faults, &serves, seconds);
        let mut weights = vec![0.0; nodes.len()];
        for (i, (node, view)) in nodes.iter_mut().zip(&topology.nodes).enumerate() {
            node.slowness = latencies.slowness(i);
            let cpu = node.heat.factor(view.host.cpu, seconds);
            node.factors = match self.config.balance {
                Policy::RoundRobin => Factors::FULL,
                Policy::Weighted => Factors {
                    cpu,
                    latency: weights::latency(node.slowness),
                    freshness: weights::freshness(self.age(view)),
                    ramp: node.standing.ramp(self.config.slow_start, now),
                },
            };
            if serves[i] {
                weights[i] = self.weight(i, &node.factors);
            }
        }
        let schedule = Schedule::new(&weights, self.config.balance == Policy::Weighted);
        if schedule != **self.schedule.load() {
            self.schedule.store(Arc::new(schedule));
        }
    }

    /// What each node's part is made of, in the order of the configuration.
    pub fn status(&self) -> Vec<NodeBalance> {
        let schedule = self.schedule();
        let memory = self.memory.lock();
        let node = |(i, node): (usize, &Node)| NodeBalance {
            weight: f64::from(schedule.weight(i)),
            capacity: self.capacity(i),
            factors: node.factors,
            slowness: node.slowness,
        };
        memory.nodes.iter().enumerate().map(node).collect()
    }

    fn weight(&self, node: usize, factors: &Factors) -> f64 {
        match self.config.balance {
            Policy::RoundRobin => 1.0,
            Policy::Weighted => factors.weight(self.capacity(node)),
        }
    }

    /// The node's lag as a share of what is allowed.
    fn age(&self, view: &NodeView) -> f64 {
        let of = |lag: Duration| lag.as_secs_f64() / self.config.max_lag.as_secs_f64().max(1e-3);
        match view.lag {
            Lag::Known(lag) | Lag::AtLeast(lag) => of(lag),
            Lag::Unknown => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Role;
    use crate::cluster::{HostReading, NodeState};

    fn topology(replicas: impl IntoIterator<Item = (NodeState, Option<f64>, u64)>) -> Topology {
        let node = |role, (state, cpu, lag_ms)| NodeView {
            name: "n".into(),
            state,
            role: Some(role),
            position: None,
            lag: Lag::Known(Duration::from_millis(lag_ms)),
            cause: None,
            host: HostReading { cpu, ..HostReading::default() },
            healthy_since: None,
            details: Default::default(),
        };
        let mut nodes = vec![node(Role::Primary, (NodeState::Healthy, None, 0))];
        nodes.extend(replicas.into_iter().map(|replica| node(Role::Replica, replica)));
        Topology { epoch: 1, primary: Some(0), nodes, ..Topology::default() }
    }

    fn weights(balancer: &Balancer) -> Vec<f64> {
        balancer.status().iter().map(|node| (node.weight * 1e3).round() / 1e3).collect()
    }

    /// Looks for `seconds` at the same cluster.
    fn look_for(balancer: &Balancer, topology: &Topology, start: &mut Instant, seconds: u64) {
        for _ in 0..seconds {
            *start += Duration::from_secs(1);
            balancer.look(topology, &[], *start);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_factors_meet_in_the_weight() {
        use NodeState::{Healthy, Unreachable};
        let balancer = Balancer::new(Config::default(), vec![1.0, 2.0, 1.0, 1.0, 1.0]);
        let mut now = Instant::now();
        let usual = [(Healthy, None, 0), (Healthy, Some(0.9), 0), (Healthy, None, 4000), (Healthy, None, 0)];
        look_for(&balancer, &topology(usual), &mut now, 60);
        assert_eq!(weights(&balancer), [0.0, 2.0, 0.4, 0.46, 1.0], "never the primary");
        let mut gone = usual;
        gone[3].0 = Unreachable;
        look_for(&balancer, &topology(gone), &mut now, 1);
        assert_eq!(weights(&balancer)[4], 0.0);
        look_for(&balancer, &topology(usual), &mut now, 1);
        assert_eq!(weights(&balancer)[4], 0.1);
        look_for(&balancer, &topology(usual), &mut now, 15);
        assert_eq!(weights(&balancer)[4], 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn plain_round_robin_looks_at_nothing_but_who_serves() {
        use NodeState::Healthy;
        let config = Config { balance: Policy::RoundRobin, ..Config::default() };
        let balancer = Balancer::new(config, vec![1.0, 5.0, 1.0, 1.0]);
        let mut now = Instant::now();
        look_for(
            &balancer,
            &topology([(Healthy, Some(1.0), 4000), (Healthy, None, 0), (Healthy, None, 9000)]),
            &mut now,
            60,
        );
        assert_eq!(weights(&balancer), [0.0, 1.0, 1.0, 0.0]);
    }
}
