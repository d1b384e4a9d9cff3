//! The knobs of the layer in memory.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much this process keeps, and for how long (R5).
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Entries that are kept at most, over all methods. Default 1000 (5.1). Too low: what is asked for again is gone.
    /// Too high: memory.
    pub entries: NonZeroUsize,
    /// How long an entry is served. Default 60 s (5.1). Too low: the database is asked more often. Too high: what changes
    /// behind dbopt's back is noticed late.
    pub ttl: Duration,
    /// The share of its lifetime by which an entry's is made longer or shorter, by chance, so that what was filled together
    /// does not expire together. Default 0.1. Too low: expiry comes in waves. Too high: lifetimes mean little.
    pub jitter: f64,
    /// What the entries may weigh together, in bytes, as far as those who insert them say. Default: not bounded.
    /// Too low: few large entries push out many small ones.
    pub bytes: Option<NonZeroUsize>,
    /// Who has to go when it is full. Default [`Policy::Lru`].
    pub policy: Policy,
}

/// Who has to go when the cache is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The entry that was not asked for the longest.
    #[default]
    Lru,
    /// Entries that were asked for once go before those asked for often, so that a scan does not empty the cache. Finds
    /// more than LRU where popularity is uneven.
    ScanResistant,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            entries: const { NonZeroUsize::new(1000).unwrap() },
            ttl: Duration::from_secs(60),
            jitter: 0.1,
            bytes: None,
            policy: Policy::Lru,
        }
    }
}

impl Config {
    /// Every contradiction, each with what to write instead.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.ttl.is_zero() {
            found.push(
                "cache.l1_ttl = \"0s\" keeps nothing in memory: write a time above zero, such as \"60s\"".to_owned(),
            );
        }
        if !(0.0..1.0).contains(&self.jitter) {
            found.push(format!("cache.jitter = {}: write a share from 0.0 to below 1.0, such as 0.1", self.jitter));
        }
        found
    }
}
