//! What circuits are told of their nodes, and how many retries there may be.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Runtime;
use crate::backend::{Backend, Role};
use crate::breaker::{Budget, Life, RetryConfig};
use crate::cluster::{NodeState, NodeView, Topology};
use crate::error::Reason;
use crate::observe::RetryCounts;

/// What the runtime remembers for circuits and retries.
#[derive(Debug)]
pub(super) struct Resilience {
    budget: Mutex<Budget>,
    /// Every node as circuits were last told of it.
    known: Mutex<Vec<Known>>,
    /// Looks for a connection that were repeated, by what had kept the one before from succeeding.
    connects: Mutex<BTreeMap<&'static str, u64>>,
    bodies: AtomicU64,
    /// Changes its value when the pools have followed a change of the cluster.
    followed: watch::Sender<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    healthy: bool,
    role: Option<Role>,
    timeline: Option<u32>,
}

impl Known {
    fn of(node: &NodeView, before: Option<&Known>) -> Self {
        Known {
            healthy: node.state.serves() || node.state == NodeState::Returning,
            // A silent node says neither; it is compared with what it said last.
            role: node.role.or(before.and_then(|known| known.role)),
            timeline: node.position.map(|p| p.timeline).or(before.and_then(|known| known.timeline)),
        }
    }
}

/// What is done again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Again {
    /// The look for a connection; the reason is why the last one failed.
    Connect(Reason),
    /// The body of a method, on another node.
    Body,
}

/// Whether something that was known has become something else.
fn differs<T: PartialEq>(before: Option<T>, now: Option<T>) -> bool {
    before.is_some() && before != now
}

impl Resilience {
    pub(super) fn new(config: &RetryConfig) -> Self {
        Resilience {
            budget: Mutex::new(Budget::new(config.budget_policy())),
            known: Mutex::default(),
            connects: Mutex::default(),
            bodies: AtomicU64::new(0),
            followed: watch::Sender::new(0),
        }
    }

    /// Tells those who wait that the pools are what the cluster is now.
    pub(super) fn pools_followed(&self) {
        self.followed.send_modify(|count| *count += 1);
    }

    /// Changes its value when the pools have followed a change of the cluster.
    pub(super) fn followed(&self) -> watch::Receiver<u64> {
        self.followed.subscribe()
    }
}

impl<B: Backend> Runtime<B> {
    /// Counts a retry that is paid for already.
    pub(super) fn retries(&self, again: Again) {
        match again {
            Again::Connect(reason) => *self.resilience.connects.lock().entry(reason.name()).or_default() += 1,
            Again::Body => drop(self.resilience.bodies.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Takes a retry out of the budget, if there is one.
    pub(super) fn may_retry(&self, again: Again) -> bool {
        let calls = self.pools.iter().flatten().map(|pool| pool.circuit().successes()).sum();
        let granted = self.resilience.budget.lock().take(Instant::now(), calls);
        if granted {
            self.retries(again);
        }
        granted
    }

    pub(super) fn retry_counts(&self) -> RetryCounts {
        RetryCounts {
            connects: self.resilience.connects.lock().iter().map(|(reason, count)| (*reason, *count)).collect(),
            bodies: self.resilience.bodies.load(Ordering::Relaxed),
            refused: self.resilience.budget.lock().refused(),
        }
    }

    /// Circuits of a node that came back may be tested; those of a node that became something else begin anew.
    pub(super) fn tell_circuits(&self, topology: &Topology) {
        let mut known = self.resilience.known.lock();
        for (i, node) in topology.nodes.iter().enumerate() {
            let before = known.get(i).copied();
            let now = Known::of(node, before.as_ref());
            let Some(before) = before else {
                known.push(now);
                continue;
            };
            known[i] = now;
            let another = differs(before.role, now.role) || differs(before.timeline, now.timeline);
            for pool in &self.pools[i] {
                if another {
                    pool.circuit().reset();
                } else if now.healthy && !before.healthy {
                    pool.circuit().alive(Life::Returned);
                }
            }
        }
    }

    /// A node that calls had met errors on, and that answers its monitor all the same, may be tested.
    pub(super) fn tell_circuits_of_answers(&self) {
        for (i, pools) in self.pools.iter().enumerate() {
            if let Some(then) = self.cluster.answered(i) {
                pools.iter().for_each(|pool| pool.circuit().alive(Life::Answered(then)));
            }
        }
    }
}
