//! Calls, counted per method, node and lane.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::histogram::{Histogram, HistogramCounts};
use super::striped::Striped;
use super::table::Table;
use crate::op::{Lane, Op};

/// How a call ended, as far as dbopt can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The body returned Ok, and what it wrote is committed.
    Ok,
    /// The body returned an error of its own.
    ApplicationError,
    /// The node, the connection or a limit of dbopt stood in the way.
    InfrastructureError,
}

/// The calls of one method on one node and lane.
#[derive(Debug, Default)]
pub struct Series {
    latency: Striped,
    application_errors: AtomicU64,
    infrastructure_errors: AtomicU64,
    /// What of all latencies was spent on other nodes before.
    elsewhere_nanos: AtomicU64,
    /// How long calls had taken at least that were answered by another node first; rare, so made at the first.
    given_up: OnceLock<Box<Histogram>>,
}

impl Series {
    /// Notes that a call that is recorded here spent so much of its time on other nodes.
    pub fn spent_elsewhere(&self, time: Duration) {
        self.elsewhere_nanos.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Notes that the node had not answered a call after this time, when another one did. It is no call of this series; who compares nodes
    /// counts it.
    pub fn given_up(&self, after: Duration) {
        self.given_up.get_or_init(Box::default).record(after);
    }

    /// Counts one call.
    #[inline]
    pub fn record(&self, outcome: Outcome, took: Duration) {
        self.latency.record(took);
        match outcome {
            Outcome::Ok => {}
            Outcome::ApplicationError => drop(self.application_errors.fetch_add(1, Ordering::Relaxed)),
            Outcome::InfrastructureError => drop(self.infrastructure_errors.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// The calls of one method.
pub struct MethodCalls {
    op: &'static Op,
    /// One per node and lane, made at its first call.
    series: Box<[OnceLock<Box<Series>>]>,
    /// Calls that no node took.
    refused: AtomicU64,
    /// Bodies run again on another node.
    rerun: AtomicU64,
}

impl fmt::Debug for MethodCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodCalls").field("op", &self.op).finish_non_exhaustive()
    }
}

impl MethodCalls {
    /// The counters of one node and lane.
    #[inline]
    pub fn series(&self, node: usize, lane: Lane) -> &Series {
        self.series[node * Lane::ALL.len() + lane.index()].get_or_init(Box::default)
    }

    /// Counts a call that no node took.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a body that is run again on another node.
    pub fn run_again(&self) {
        self.rerun.fetch_add(1, Ordering::Relaxed);
    }
}

/// What was counted for a method on one node and lane.
#[derive(Debug, Clone)]
pub struct CallCounts {
    /// The method's id.
    pub id: usize,
    /// The method.
    pub method: &'static str,
    /// The node's place in the configuration.
    pub node: usize,
    /// The lane.
    pub lane: Lane,
    /// Latencies of all calls, failed ones included.
    pub latency: HistogramCounts,
    /// Calls whose body returned an error of its own.
    pub application_errors: u64,
    /// Calls that failed for the node's or dbopt's reasons.
    pub infrastructure_errors: u64,
    /// What of all latencies was spent on other nodes before, in seconds.
    pub elsewhere: f64,
    /// How long calls had taken at least that another node answered first. They are counted there, not here.
    pub given_up: HistogramCounts,
}

/// The calls of every method.
#[derive(Debug, Default)]
pub struct Calls {
    nodes: usize,
    /// By the method's id.
    methods: Table<MethodCalls>,
    /// What was counted of nodes before others took their places.
    before: Mutex<Vec<CallCounts>>,
}

impl Calls {
    /// Counters for a cluster of so many nodes.
    pub fn new(nodes: usize) -> Self {
        Calls { nodes, ..Calls::default() }
    }

    /// The counters of `op`.
    #[inline]
    pub fn method(&self, op: &'static Op) -> &MethodCalls {
        self.methods.get_or_init(op.id(), || MethodCalls {
            op,
            series: (0..self.nodes * Lane::ALL.len()).map(|_| OnceLock::new()).collect(),
            refused: AtomicU64::new(0),
            rerun: AtomicU64::new(0),
        })
    }

    /// Everything counted so far, method by method.
    pub fn counts(&self) -> Vec<CallCounts> {
        let mut all = Vec::new();
        for method in self.methods.iter() {
            for (i, series) in method.series.iter().enumerate() {
                let Some(series) = series.get() else { continue };
                all.push(CallCounts {
                    id: method.op.id(),
                    method: method.op.name(),
                    node: i / Lane::ALL.len(),
                    lane: Lane::ALL[i % Lane::ALL.len()],
                    latency: series.latency.counts(),
                    application_errors: series.application_errors.load(Ordering::Relaxed),
                    infrastructure_errors: series.infrastructure_errors.load(Ordering::Relaxed),
                    elsewhere: series.elsewhere_nanos.load(Ordering::Relaxed) as f64 / 1e9,
                    given_up: series.given_up.get().map(|times| times.counts()).unwrap_or_default(),
                });
            }
        }
        all
    }

    /// Another server takes the place of `node`: what is counted so far was another's.
    pub fn begin_anew(&self, node: usize) {
        let so_far = self.counts().into_iter().filter(|counts| counts.node == node);
        let mut before = self.before.lock();
        before.retain(|counts| counts.node != node);
        before.extend(so_far);
    }

    /// What was counted of the servers that are there now, method by method.
    pub fn counts_by_server(&self) -> Vec<CallCounts> {
        let mut all = self.counts();
        for old in self.before.lock().iter() {
            let same = |c: &&mut CallCounts| (c.id, c.node, c.lane) == (old.id, old.node, old.lane);
            if let Some(counts) = all.iter_mut().find(same) {
                counts.latency.subtract(&old.latency);
                counts.application_errors -= old.application_errors;
                counts.infrastructure_errors -= old.infrastructure_errors;
                counts.elsewhere -= old.elsewhere;
            }
        }
        all
    }

    /// Every method that was called, by its id.
    pub fn names(&self) -> Vec<(usize, &'static str)> {
        self.methods.iter().map(|method| (method.op.id(), method.op.name())).collect()
    }

    /// Per method: calls that no node took, and bodies run again on another node.
    pub fn refused_and_rerun(&self) -> Vec<(&'static str, u64, u64)> {
        self.methods
            .iter()
            .map(|m| (m.op.name(), m.refused.load(Ordering::Relaxed), m.rerun.load(Ordering::Relaxed)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Intent;

    #[test]
    fn a_call_is_counted_where_it_ran_and_only_there() {
        static OP: Op = Op::new("Counted::call", Intent::Read);
        let calls = Calls::new(2);
        calls.method(&OP).series(1, Lane::Read).record(Outcome::Ok, Duration::from_millis(3));
        calls.method(&OP).series(1, Lane::Read).record(Outcome::ApplicationError, Duration::from_millis(3));
        let counts = calls.counts();
        assert_eq!(counts.len(), 1);
        assert_eq!((counts[0].node, counts[0].latency.count(), counts[0].application_errors), (1, 2, 1));
    }

    #[test]
    fn who_takes_a_place_begins_at_nothing_and_the_sum_goes_on() {
        static OP: Op = Op::new("Counted::place", Intent::Read);
        let calls = Calls::new(2);
        let record = |node| calls.method(&OP).series(node, Lane::Read).record(Outcome::Ok, Duration::from_millis(3));
        let shown = || calls.counts_by_server().iter().map(|c| c.latency.count()).collect::<Vec<_>>();
        (0..3).for_each(|_| record(1));
        record(0);
        calls.begin_anew(1);
        assert_eq!(shown(), [1, 0]);
        record(1);
        assert_eq!(shown(), [1, 1]);
        calls.begin_anew(1);
        assert_eq!(shown(), [1, 0]);
        assert_eq!(calls.counts().iter().map(|c| c.latency.count()).sum::<u64>(), 5);
    }
}
