//! What happened, counted (R10): per method, node and lane, with latency histograms.

mod alerts;
mod cache;
mod calls;
mod classic;
mod exposition;
mod histogram;
mod limits;
mod nodes;
mod resilience;
mod statements;
mod striped;
mod table;
mod takeovers;
mod text;

#[cfg(test)]
mod reference;

pub use alerts::AlertCounts;
pub use cache::CacheCounts;
pub use calls::{CallCounts, Calls, MethodCalls, Outcome, Series};
pub use classic::classic;
pub use exposition::{Gauges, PoolGauges, openmetrics};
pub use histogram::{BOUNDS, Histogram, HistogramCounts};
pub use limits::LimitCounts;
pub use nodes::NodeGauges;
pub use resilience::{CircuitCounts, HedgeCounts, RetryCounts};
pub use statements::{StatementCounts, StatementSeries};
pub use takeovers::{TakeoverCounts, WaitCounts};
