//! What happened, counted (R10): per method, node and lane, with latency histograms.

mod calls;
mod exposition;
mod histogram;

pub use calls::{CallCounts, Calls, MethodCalls, Outcome, Series};
pub use exposition::{Gauges, NodeGauges, PoolGauges, openmetrics};
pub use histogram::{BOUNDS, Histogram, HistogramCounts};
