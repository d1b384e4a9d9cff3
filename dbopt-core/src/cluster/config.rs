//! The monitor's knobs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;

/// How the nodes are watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often every node is asked about its role and position. Default 1 s; it is also the resolution at which lag is
    /// known. Too high: a dead node is noticed late (criterion 2.4 asks for 10 s at most). Too low: needless load.
    #[serde(with = "duration")]
    pub probe_interval: Duration,
    /// How long a node may take to answer before it counts as unreachable. Default 1 s.
    #[serde(with = "duration")]
    pub probe_timeout: Duration,
    /// How many unanswered probes in a row make a node unreachable; a refused connection does so at once. Default 2. Too low: a busy
    /// server is taken for a dead one. Too high: calls go on being sent to a frozen one.
    pub probe_misses: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { probe_interval: Duration::from_secs(1), probe_timeout: Duration::from_secs(1), probe_misses: 2 }
    }
}

impl Config {
    /// Every contradiction, each with what to write instead.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.probe_interval < Duration::from_millis(50) {
            found.push(format!(
                "cluster.probe_interval = {:?}: write at least \"50ms\", \"1s\" is usual",
                self.probe_interval
            ));
        }
        if self.probe_interval > Duration::from_secs(10) {
            found.push(format!(
                "cluster.probe_interval = {:?}: write at most \"10s\", or a dead node goes unnoticed for too long",
                self.probe_interval
            ));
        }
        if self.probe_timeout.is_zero() {
            found.push("cluster.probe_timeout = \"0s\": write a time above zero, such as \"1s\"".into());
        }
        if self.probe_misses == 0 {
            found.push("cluster.probe_misses = 0: write at least 1".into());
        }
        found
    }
}
