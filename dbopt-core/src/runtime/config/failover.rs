//! What calls and caches do when another node becomes the primary.

use serde::{Deserialize, Serialize};

/// What calls and caches do when another node becomes the primary (R2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FailoverConfig {
    /// How many writes and other calls that need the primary wait for the next one while there is none, each until its own deadline. Default
    /// 1000, and at most `pool.max_waiting`; as many critical calls wait besides. 0: none waits; they are refused at once, or after `retry.attempts`. Too low: callers
    /// see errors in a failover. Too high: all of them come to the new primary at once.
    pub wait_limit: usize,
    /// Whether cached results stay when a new primary is on a new timeline and no log is known to be lost. Default false: they are all dropped,
    /// as any of them may show a write that is gone. Set it only where replication is synchronous: nothing acknowledged is lost there.
    pub keep_cache: bool,
}

impl Default for FailoverConfig {
    fn default() -> Self {
        FailoverConfig { wait_limit: 1000, keep_cache: false }
    }
}

impl FailoverConfig {
    /// How many wait, with a queue of so many at each pool: whoever waited must find room in that of the new primary.
    pub(in crate::runtime) fn seats(&self, queue: usize) -> usize {
        self.wait_limit.min(queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_wait_fit_into_the_queue_of_the_new_primary() {
        let config = FailoverConfig { wait_limit: 20, ..FailoverConfig::default() };
        assert_eq!([config.seats(20), config.seats(19), config.seats(1000)], [20, 19, 20]);
    }
}
