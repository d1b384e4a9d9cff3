//! As much of a status as is shown. What an application of another version does not tell is left out.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct View {
    pub(super) health: String,
    pub(super) primary: Option<String>,
    pub(super) nodes: Vec<Node>,
    pub(super) connections: Connections,
    #[serde(default)]
    pub(super) open_circuits: Vec<OpenCircuit>,
    #[serde(default)]
    pub(super) cache: Cache,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) alerts: Vec<Alert>,
    #[serde(default)]
    pub(super) events: Vec<Event>,
    #[serde(default)]
    pub(super) methods: Vec<Method>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) role: Option<String>,
    pub(super) state: String,
    pub(super) cause: Option<String>,
    pub(super) position: Option<String>,
    pub(super) lag_seconds: Option<f64>,
    #[serde(default)]
    pub(super) upstream: Option<String>,
    #[serde(default)]
    pub(super) notes: Vec<String>,
    #[serde(default)]
    pub(super) host: Host,
    #[serde(default)]
    pub(super) balance: Option<Balance>,
    pub(super) calls: BTreeMap<String, u64>,
    pub(super) pools: Vec<Pool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Host {
    pub(super) cpu: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Balance {
    pub(super) weight: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Pool {
    pub(super) lane: String,
    pub(super) open: usize,
    pub(super) in_use: usize,
    pub(super) waiting: usize,
    pub(super) max: usize,
    pub(super) circuit: Circuit,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Circuit {
    pub(super) state: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct OpenCircuit {
    pub(super) node: String,
    pub(super) lane: String,
    pub(super) state: String,
    pub(super) cause: Option<String>,
    pub(super) test_in_seconds: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Connections {
    pub(super) open: usize,
    pub(super) in_use: usize,
    pub(super) max: usize,
    pub(super) utilization_percent: f64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cache {
    pub(super) l1_hits: u64,
    pub(super) l1_misses: u64,
    pub(super) l1_entries: u64,
    pub(super) l2_hits: u64,
    pub(super) redis: String,
    pub(super) journal: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Limits {
    pub(super) redis: String,
    pub(super) limits: Vec<Limit>,
    pub(super) methods: Vec<Checks>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Limit {
    pub(super) name: String,
    pub(super) scope: String,
    pub(super) rates: String,
    pub(super) callers: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Checks {
    pub(super) method: String,
    pub(super) scope: String,
    pub(super) admitted: u64,
    pub(super) refused: u64,
    #[serde(default)]
    pub(super) bypassed: u64,
    #[serde(default)]
    pub(super) degraded: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Alert {
    pub(super) rule: String,
    #[serde(default)]
    pub(super) subject: Option<String>,
    pub(super) severity: String,
    pub(super) for_seconds: f64,
    pub(super) summary: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Event {
    pub(super) ago_seconds: f64,
    pub(super) kind: String,
    pub(super) subject: String,
    pub(super) text: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Method {
    pub(super) node: String,
    pub(super) count: u64,
    pub(super) p99_ms: f64,
}

impl View {
    /// All calls that ran on a node.
    pub(super) fn calls(&self) -> u64 {
        self.nodes.iter().flat_map(|node| node.calls.values()).sum()
    }

    /// The share of look-ups that were answered by the cache, if there was any.
    pub(super) fn hit_rate(&self) -> Option<f64> {
        let Cache { l1_hits, l1_misses, l2_hits, .. } = self.cache;
        let all = l1_hits + l1_misses;
        (all > 0).then(|| (l1_hits + l2_hits) as f64 / all as f64)
    }
}
