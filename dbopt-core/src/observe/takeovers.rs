//! The metrics of failovers, and of calls that wait for them.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge};
use prometheus_client::registry::Unit;

/// The calls that waited for a primary until the moment of the scrape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct WaitCounts {
    /// Calls that wait now.
    pub waiting: usize,
    /// Calls that have waited since the start, those that do now included.
    pub waited: u64,
    /// Calls that were refused because as many waited as may.
    pub refused: u64,
}

pub(super) fn waits(encoder: &mut DescriptorEncoder<'_>, counts: &WaitCounts) -> fmt::Result {
    let help = "Calls that wait for a node to become the primary";
    let waiting = encoder.encode_descriptor("dbopt_primary_waiting", help, None, MetricType::Gauge)?;
    ConstGauge::new(counts.waiting as f64).encode(waiting)?;
    let help = "Calls that have waited for a node to become the primary";
    let waited = encoder.encode_descriptor("dbopt_primary_waits", help, None, MetricType::Counter)?;
    ConstCounter::new(counts.waited).encode(waited)?;
    let help = "Calls refused because as many waited for a primary as may";
    let refused = encoder.encode_descriptor("dbopt_primary_waits_refused", help, None, MetricType::Counter)?;
    ConstCounter::new(counts.refused).encode(refused)
}

/// The failovers until the moment of the scrape.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct TakeoverCounts {
    /// How often another node has become the primary since the start of this instance.
    pub count: u64,
    /// For how long there was no primary, the last time.
    pub outage_seconds: Option<f64>,
    /// How many bytes of log were lost, the last time, as far as is known; absent where nobody can tell.
    pub lost_bytes: Option<u64>,
    /// Callers of whom something they had written was lost.
    pub tokens_lost: u64,
}

pub(super) fn takeovers(encoder: &mut DescriptorEncoder<'_>, counts: &TakeoverCounts) -> fmt::Result {
    let help = "How often another node has become the primary";
    let count = encoder.encode_descriptor("dbopt_failovers", help, None, MetricType::Counter)?;
    ConstCounter::new(counts.count).encode(count)?;
    let help = "For how long there was no primary at the last failover";
    if let Some(seconds) = counts.outage_seconds {
        let outage =
            encoder.encode_descriptor("dbopt_failover_outage", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        ConstGauge::new(seconds).encode(outage)?;
    }
    let help = "The log that the last failover lost, as far as is known; absent while unknown";
    if let Some(bytes) = counts.lost_bytes {
        let lost = encoder.encode_descriptor("dbopt_failover_lost", help, Some(&Unit::Bytes), MetricType::Gauge)?;
        ConstGauge::new(bytes as f64).encode(lost)?;
    }
    let help = "Callers who came with a token for a write that a failover has lost";
    let tokens = encoder.encode_descriptor("dbopt_tokens_lost", help, None, MetricType::Counter)?;
    ConstCounter::new(counts.tokens_lost).encode(tokens)
}
