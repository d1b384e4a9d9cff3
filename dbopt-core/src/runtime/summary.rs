//! The few figures that a small monitor reads.

use serde::Serialize;

use super::Runtime;
use crate::backend::Backend;

/// The calls that reached the database, since the start.
#[derive(Debug, Clone, Serialize)]
pub struct Database {
    /// Calls, those included that no node took. What the cache answered is not among them.
    pub query_count: u64,
    /// The mean time of a call, in milliseconds.
    pub avg_latency_ms: f64,
    /// The share of calls that failed, in percent, counted as for the alert `error_rate`.
    pub error_rate_percent: f64,
    /// Calls per second in the last 30 seconds.
    pub throughput_qps: f64,
}

/// The connections of an instance, over all nodes and lanes.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionPool {
    /// Open connections.
    pub total_connections: usize,
    /// Connections lent to calls.
    pub active_connections: usize,
    /// Open connections that nobody uses.
    pub idle_connections: usize,
    /// The most that may be open.
    pub max_connections: usize,
    /// `active_connections` as a share of `max_connections`, in percent.
    pub utilization_percent: f64,
}

impl ConnectionPool {
    pub(super) fn new(open: usize, in_use: usize, max: usize) -> Self {
        ConnectionPool {
            total_connections: open,
            active_connections: in_use,
            idle_connections: open.saturating_sub(in_use),
            max_connections: max,
            utilization_percent: 100.0 * in_use as f64 / max.max(1) as f64,
        }
    }
}

impl<B: Backend> Runtime<B> {
    pub(super) fn database(&self) -> Database {
        let totals = self.call_totals();
        let (count, seconds) = totals.latency.map_or((0, 0.0), |latency| (latency.count(), latency.sum));
        Database {
            query_count: totals.calls,
            avg_latency_ms: 1e3 * seconds / count.max(1) as f64,
            error_rate_percent: 100.0 * totals.errors as f64 / totals.calls.max(1) as f64,
            throughput_qps: self.samples.per_second(totals.calls),
        }
    }
}
