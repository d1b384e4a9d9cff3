//! The router's knobs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::balance::Policy;
use crate::duration;

/// Which replicas may serve reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Replicas further behind than this serve no reads; the primary does. Default 5 s (3.4). From half of it on a replica gets less, and one
    /// that was away comes back when it is within half of it. Too low: the primary carries the reads at each small delay. Too high: users see
    /// old data.
    #[serde(with = "duration")]
    pub max_lag: Duration,
    /// How long a read waits for a replica to replay its caller's own write before it goes to the primary. Default 100 ms. Too low:
    /// the primary serves reads that a replica could serve a moment later. Too high: such reads take that long.
    #[serde(with = "duration")]
    pub own_write_wait: Duration,
    /// How reads are spread over replicas. Default `weighted`: by capacity, load, response times and lag. `round_robin`: in turn, which sends
    /// as many reads to a slow replica as to a fast one.
    pub balance: Policy,
    /// In which time a replica that was away gets its full part of the reads again, from a tenth on. Default 15 s; `0s`: at once. Too low: it
    /// meets the full load with cold caches. Too high: the others carry its part for longer.
    #[serde(with = "duration")]
    pub slow_start: Duration,
    /// How many reads may run at once on the primary in place of replicas that cannot serve, as a share of the connections for reads
    /// (`pool.max` without the shares of writes and critical calls). Default 0.5; 0: none. Others wait for `pool.acquire_timeout` and are
    /// refused. Critical calls, reads `from = "primary"` and reads of one's own writes are not counted. Too low: users see errors
    /// although the primary has room. Too high: reads take the time that writes need.
    pub primary_reads: f64,
    /// Which share of the reads may be asked of a second replica (`#[read(hedge = "50ms")]`), besides one a second. Default 0.05; 0: none. Too low: when a replica turns slow, most of its
    /// reads stay slow. Too high: replicas that are all slow get that much more to do.
    pub hedge_budget: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_lag: Duration::from_secs(5),
            own_write_wait: Duration::from_millis(100),
            balance: Policy::Weighted,
            slow_start: Duration::from_secs(15),
            primary_reads: 0.5,
            hedge_budget: 0.05,
        }
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
        if self.slow_start > Duration::from_secs(600) {
            found.push(format!(
                "routing.slow_start = {:?}: the other replicas would carry its part for that long; write at most \"10m\", \"15s\" is usual",
                self.slow_start
            ));
        }
        if !(0.0..=1.0).contains(&self.primary_reads) {
            found.push(format!(
                "routing.primary_reads = {}: write a share of the connections for reads from 0 (none) to 1 (all)",
                self.primary_reads
            ));
        }
        if !(0.0..=0.5).contains(&self.hedge_budget) {
            found.push(format!(
                "routing.hedge_budget = {}: write a share of the reads up to 0.5, such as 0.05; 0 to ask none twice",
                self.hedge_budget
            ));
        }
        found
    }
}
