//! The metrics of circuits and retries.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge};
use serde::Serialize;

/// A circuit at the moment of the scrape.
#[derive(Debug, Clone)]
pub struct CircuitCounts {
    /// The node.
    pub node: String,
    /// The lane.
    pub lane: &'static str,
    /// 0 closed, 1 open, 2 half-open.
    pub state: u8,
    /// Calls it has refused.
    pub refused: u64,
    /// How often it went from one state to another.
    pub transitions: Vec<(&'static str, &'static str, u64)>,
}

/// The retries until the moment of the scrape.
#[derive(Debug, Clone, Default)]
pub struct RetryCounts {
    /// Looks for a connection that were repeated, by the reason of the failure before.
    pub connects: Vec<(&'static str, u64)>,
    /// Bodies that were run again.
    pub bodies: u64,
    /// Retries that the budget refused.
    pub refused: u64,
}

/// Reads that were asked of a second replica, until the moment of the scrape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HedgeCounts {
    /// The second answered first.
    pub won: u64,
    /// The first answered first.
    pub lost: u64,
    /// The second met an error of its node, or neither answered in time.
    pub failed: u64,
    /// Not asked twice because there had been too many.
    pub refused: u64,
}

pub(super) fn hedges(encoder: &mut DescriptorEncoder<'_>, counts: HedgeCounts) -> fmt::Result {
    let help = "Reads that were asked of a second replica, by what came of it: won (it answered first), lost, failed";
    let mut hedged = encoder.encode_descriptor("dbopt_reads_hedged", help, None, MetricType::Counter)?;
    for (outcome, count) in [("won", counts.won), ("lost", counts.lost), ("failed", counts.failed)] {
        ConstCounter::new(count).encode(hedged.encode_family(&[("outcome", outcome)])?)?;
    }
    let help = "Slow reads that were not asked of a second replica because there had been too many";
    let refused = encoder.encode_descriptor("dbopt_hedge_budget_exhausted", help, None, MetricType::Counter)?;
    ConstCounter::new(counts.refused).encode(refused)
}

pub(super) fn circuits(encoder: &mut DescriptorEncoder<'_>, all: &[CircuitCounts]) -> fmt::Result {
    let place = |circuit: &CircuitCounts| [("node", circuit.node.clone()), ("lane", circuit.lane.to_owned())];
    let help = "Whether calls pass: 0 closed (they do), 1 open (they are refused), 2 half-open (one test is made)";
    let mut states = encoder.encode_descriptor("dbopt_circuit_state", help, None, MetricType::Gauge)?;
    for circuit in all {
        ConstGauge::new(f64::from(circuit.state)).encode(states.encode_family(&place(circuit))?)?;
    }
    let help = "Changes of a circuit's state";
    let mut changes = encoder.encode_descriptor("dbopt_circuit_transitions", help, None, MetricType::Counter)?;
    for circuit in all {
        for (from, to, count) in &circuit.transitions {
            let [node, lane] = place(circuit);
            let labels = [node, lane, ("from", (*from).to_owned()), ("to", (*to).to_owned())];
            ConstCounter::new(*count).encode(changes.encode_family(&labels)?)?;
        }
    }
    let help = "Calls that an open circuit refused; a read may have been served by another node";
    let mut refused = encoder.encode_descriptor("dbopt_circuit_refused", help, None, MetricType::Counter)?;
    for circuit in all {
        ConstCounter::new(circuit.refused).encode(refused.encode_family(&place(circuit))?)?;
    }
    Ok(())
}

pub(super) fn retries(encoder: &mut DescriptorEncoder<'_>, counts: &RetryCounts) -> fmt::Result {
    let help = "Looks for a connection and bodies that were repeated, by what had failed";
    let mut retries = encoder.encode_descriptor("dbopt_retries", help, None, MetricType::Counter)?;
    let rows = counts.connects.iter().map(|(reason, count)| ("connect", *reason, *count));
    for (what, reason, count) in rows.chain([("body", "node_fault", counts.bodies)]) {
        let labels = [("what", what), ("reason", reason)];
        ConstCounter::new(count).encode(retries.encode_family(&labels)?)?;
    }
    let help = "Retries that were not made because there had been too many";
    let refused = encoder.encode_descriptor("dbopt_retry_budget_exhausted", help, None, MetricType::Counter)?;
    ConstCounter::new(counts.refused).encode(refused)
}
