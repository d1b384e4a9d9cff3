//! The metrics of nodes.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;

use super::exposition::{Gauges, gauge};

/// A node at the moment of the scrape.
#[derive(Debug, Clone)]
pub struct NodeGauges {
    /// The name.
    pub node: String,
    /// What it is good for.
    pub state: &'static str,
    /// Whether calls are sent there.
    pub up: bool,
    /// Whether it is the primary.
    pub primary: bool,
    /// How far behind it is, where that is known.
    pub lag_seconds: Option<f64>,
    /// The log it has still to replay, where that is known.
    pub lag_bytes: Option<u64>,
    /// For how long a write has not reached it, where it is a replica.
    pub unreached_seconds: Option<f64>,
    /// How often it was lost.
    pub losses: u64,
    /// Its weight among the replicas, if it is one.
    pub weight: Option<f64>,
    /// The shares of its machine's processors, memory and disk in use, where they are known.
    pub host: [Option<f64>; 3],
}

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, gauges: &Gauges) -> fmt::Result {
    let nodes = &gauges.nodes;
    let label = |n: &NodeGauges| [("node", n.node.clone())];
    let flag = |flag: bool| f64::from(u8::from(flag));
    let up = nodes.iter().map(|n| (label(n), flag(n.up)));
    gauge(encoder, "dbopt_node_up", "Whether calls are sent to the node", None, up)?;
    let primary = nodes.iter().map(|n| (label(n), flag(n.primary)));
    gauge(encoder, "dbopt_node_primary", "Whether the node is the primary", None, primary)?;
    let of = |n: &NodeGauges, state: &'static str| [("node", n.node.clone()), ("state", state.to_owned())];
    let states =
        nodes.iter().flat_map(|n| gauges.states.iter().map(move |state| (of(n, state), flag(n.state == *state))));
    gauge(encoder, "dbopt_node_state", "1 for the state that the node is in", None, states)?;
    let mut losses = encoder.encode_descriptor(
        "dbopt_node_losses",
        "How often the node was lost since the start",
        None,
        MetricType::Counter,
    )?;
    for node in nodes {
        ConstCounter::new(node.losses).encode(losses.encode_family(&label(node))?)?;
    }
    let help = "How far the node is behind the primary; absent while unknown";
    let seconds = nodes.iter().filter_map(|n| Some((label(n), n.lag_seconds?)));
    gauge(encoder, "dbopt_replication_lag", help, Some(&Unit::Seconds), seconds)?;
    let bytes = nodes.iter().filter_map(|n| Some((label(n), n.lag_bytes? as f64)));
    gauge(encoder, "dbopt_replication_lag", "The log that the node has still to replay", Some(&Unit::Bytes), bytes)?;
    let help = "For how long a write of the primary has not reached the replica; 0 where all have";
    let unreached = nodes.iter().filter_map(|n| Some((label(n), n.unreached_seconds?)));
    gauge(encoder, "dbopt_replica_unreached", help, Some(&Unit::Seconds), unreached)?;
    let help = "The replica's weight among the others; 0 while it gets no reads";
    let weights = nodes.iter().filter_map(|n| Some((label(n), n.weight?)));
    gauge(encoder, "dbopt_node_weight", help, None, weights)?;
    let shed = encoder.encode_descriptor(
        "dbopt_reads_shed",
        "Reads refused because no replica could serve them and the primary had enough to do",
        None,
        MetricType::Counter,
    )?;
    ConstCounter::new(gauges.reads_shed).encode(shed)?;
    let counts = ["serving", "wanted"].into_iter().zip(gauges.replicas);
    let counts = counts.map(|(kind, count)| ([("kind", kind.to_owned())], count as f64));
    gauge(encoder, "dbopt_replicas", "Replicas that serve reads, and how many there should be", None, counts)?;
    let machine = [
        ("dbopt_host_cpu", "The share of the node's processors in use"),
        ("dbopt_host_memory", "The share of the node's memory in use"),
        ("dbopt_host_disk", "The share of the node's disk in use"),
    ];
    for (i, (name, help)) in machine.into_iter().enumerate() {
        let ratio = Unit::Other("ratio".into());
        gauge(encoder, name, help, Some(&ratio), nodes.iter().filter_map(|n| Some((label(n), n.host[i]?))))?;
    }
    Ok(())
}
