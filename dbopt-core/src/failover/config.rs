//! The knobs of who promotes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;
use crate::secret::Secret;

/// How the coordinator of `dbopt supervise` decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often every node is asked while all is well. Default 1 s. Too low: needless load. Too high: a dead primary is noticed late;
    /// with 10 s it takes up to 12 s.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// How long a node may take to answer, connecting included. Default 1 s. Too low: a busy primary is taken for a dead one. Too high: a
    /// frozen one is noticed late.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How many checks in a row the primary must miss; after the first they follow each other within a second. Default 3. Too low: a
    /// restart of a second, as after the crash of one session, costs a failover. Too high: a dead primary is replaced late.
    pub misses: u32,
    /// After how long a server takes its vote back from a coordinator that says nothing. Default 3 s. Too low: a coordinator on a busy
    /// machine loses its votes. Too high: when it freezes, another one waits that long.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// Whether a write is acknowledged only once other nodes have it, so that a failover loses none, and the old primary, cut off from them,
    /// acknowledges none. Default false. It costs each write a round trip to a replica, and writes hang while too few replicas are there.
    pub synchronous: bool,
    /// How long an attempt may take before it is given up and taken back. Default 30 s. Too low: a replica with much log to replay cannot
    /// be promoted. Too high: after a fault in the middle of an attempt, replicas receive nothing for that long.
    #[serde(with = "duration")]
    pub patience: Duration,
    /// How long a node may be lost before its agent, where there is one, makes it a replica again. Default 10 s. Too low: a restart by hand
    /// is disturbed. Too high: fewer replicas for that long.
    #[serde(with = "duration")]
    pub rejoin_after: Duration,
    /// Whether the coordinator itself tells people of a lost node and of a failover, through the channels of `[alerts]`. Default true. Applications
    /// tell the same under the same keys, if they have channels: where a receiver does not join by key, as mail and Slack do not, it hears twice.
    pub alerts: bool,
    /// Where `dbopt agent` of each node listens, such as `db1 = "http://db1:7432"`. Default none: who is lost has to be brought back by hand.
    pub agents: BTreeMap<String, String>,
    /// The token that the agents were started with.
    pub agent_token: Secret,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            misses: 3,
            lease: Duration::from_secs(3),
            synchronous: false,
            patience: Duration::from_secs(30),
            rejoin_after: Duration::from_secs(10),
            alerts: true,
            agents: BTreeMap::new(),
            agent_token: Secret::default(),
        }
    }
}

impl Config {
    /// Every contradiction, each with what to write instead.
    pub fn problems(&self) -> Vec<String> {
        let second = Duration::from_secs(1);
        let mut found = Vec::new();
        let mut range = |name: &str, value: Duration, least: Duration, most: Duration| {
            if !(least..=most).contains(&value) {
                found.push(format!("supervise.{name} = {value:?}: write {least:?} to {most:?}"));
            }
        };
        range("interval", self.interval, second / 10, second * 10);
        range("timeout", self.timeout, second / 10, second * 5);
        range("lease", self.lease, second, second * 60);
        range("patience", self.patience, second * 5, second * 600);
        range("rejoin_after", self.rejoin_after, second, second * 3600);
        if !(2..=20).contains(&self.misses) {
            found.push(format!(
                "supervise.misses = {}: write 2 to 20; a single miss is no reason to replace a primary",
                self.misses
            ));
        }
        if self.lease < self.timeout * 2 {
            found.push(format!(
                "supervise.lease = {:?} is less than twice supervise.timeout = {:?}: raise the first, or one slow answer costs the votes",
                self.lease, self.timeout
            ));
        }
        found
    }

    /// How soon nodes are asked again while one of them does not answer.
    pub fn recheck(&self) -> Duration {
        (self.interval / 2).clamp(Duration::from_millis(50), Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_says_what_to_write() {
        type Change = fn(&mut Config);
        let changes: [(Change, &str); 4] = [
            (|c| c.interval = Duration::from_secs(11), "supervise.interval = 11s: write 100ms to 10s"),
            (|c| c.misses = 1, "supervise.misses = 1: write 2 to 20"),
            (|c| c.timeout = Duration::from_secs(2), "raise the first"),
            (|c| c.patience = Duration::ZERO, "supervise.patience = 0ns: write 5s"),
        ];
        for (change, wanted) in changes {
            let mut config = Config::default();
            assert_eq!(config.problems(), Vec::<String>::new());
            change(&mut config);
            let found = config.problems().join("\n");
            assert!(found.contains(wanted), "{wanted} in {found}");
        }
    }
}
