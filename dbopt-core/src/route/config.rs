//! The router's knobs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;

/// Which replicas may serve reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Replicas further behind than this serve no reads; the primary does. Default 5 s (3.4). Too low: the primary carries the reads at
    /// each small delay. Too high: users see old data.
    #[serde(with = "duration")]
    pub max_lag: Duration,
    /// How long a read waits for a replica to replay its caller's own write before it goes to the primary. Default 100 ms. Too low:
    /// the primary serves reads that a replica could serve a moment later. Too high: such reads take that long.
    #[serde(with = "duration")]
    pub own_write_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config { max_lag: Duration::from_secs(5), own_write_wait: Duration::from_millis(100) }
    }
}

impl Config {
    /// Every contradiction, each with what to write instead.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.max_lag.is_zero() {
            found.push("routing.max_lag = \"0s\": no replica would ever serve; write a time such as \"5s\"".into());
        }
        if self.own_write_wait > Duration::from_secs(5) {
            found.push(format!(
                "routing.own_write_wait = {:?}: reads would hang that long behind a slow replica; write at most \"5s\"",
                self.own_write_wait
            ));
        }
        found
    }
}
