//! The monitor's knobs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::host::HostConfig;
use super::patroni::PatroniConfig;
use crate::duration;

/// No two probes of a node are further apart (criterion 2.4), but for what the first one takes.
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// Who makes a replica the primary when it is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Somebody else; whoever is the primary is followed.
    #[default]
    Observe,
    /// `dbopt supervise`.
    Supervised,
    /// Patroni: its leader is followed.
    Patroni,
}

/// How the nodes are watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who makes a replica the primary when it is lost: `"observe"` (default), somebody else, such as a managed service, or nobody;
    /// `"supervised"`, `dbopt supervise`, which does not start otherwise; `"patroni"`, Patroni, whose leader is followed, and no other primary.
    /// Never supervised beside another program that promotes.
    pub mode: Mode,
    /// How often every node is asked about its role and position, give or take a tenth. Default 1 s; it is also the resolution at which
    /// lag is known. Too high: a dead node is noticed late (criterion 2.4 asks for 10 s at most). Too low: needless load.
    #[serde(with = "duration")]
    pub probe_interval: Duration,
    /// How long a node may take to answer before the probe counts as missed. Default 1 s. Too low: a busy server is taken for a dead
    /// one. Too high: a frozen one is noticed late.
    #[serde(with = "duration")]
    pub probe_timeout: Duration,
    /// How many missed probes in a row make a node unreachable; a refused connection does so at once. Default 2. Too low: a busy server is
    /// taken for a dead one. Too high: calls go on being sent to a frozen one.
    pub probe_misses: u32,
    /// Among so many probes, one miss more than `probe_misses` makes it unreachable too, wherever they are. Default 5: three of five. Too
    /// low (as `probe_misses`): a node that answers every other time stays in use. Too high: slow answers of long ago count against it.
    pub probe_window: u32,
    /// How long a replica that was lost has to answer before reads are sent there again. Default 2 s; each further loss within
    /// `flap_memory` doubles it. Too low: a node that comes and goes costs calls each time. Too high: the others carry its share for
    /// longer.
    #[serde(with = "duration")]
    pub hold_down: Duration,
    /// The longest it has to. Default 1 min. Too low: a node that flaps is used too often. Too high: one that was repaired waits for
    /// long.
    #[serde(with = "duration")]
    pub hold_down_max: Duration,
    /// For how long a loss is remembered. Default 10 min. Too low: a node that is lost every few minutes passes for a good one. Too high:
    /// old losses count against a node that was repaired.
    #[serde(with = "duration")]
    pub flap_memory: Duration,
    /// Where Patroni is asked.
    pub patroni: PatroniConfig,
    /// How busy the nodes' machines are, and who tells.
    pub host: HostConfig,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            mode: Mode::default(),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(1),
            probe_misses: 2,
            probe_window: 5,
            hold_down: Duration::from_secs(2),
            hold_down_max: Duration::from_secs(60),
            flap_memory: Duration::from_secs(600),
            patroni: PatroniConfig::default(),
            host: HostConfig::default(),
        }
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
        if self.probe_interval > LONGEST {
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
        if self.probe_window == 0 || self.probe_window > 1000 {
            found.push(format!("cluster.probe_window = {}: write 1 to 1000", self.probe_window));
        }
        if self.hold_down > self.hold_down_max {
            found.push(format!(
                "cluster.hold_down = {:?} is more than cluster.hold_down_max = {:?}: lower the first or raise the second",
                self.hold_down, self.hold_down_max
            ));
        }
        if self.hold_down > Duration::from_secs(10) {
            found.push(format!(
                "cluster.hold_down = {:?}: write at most \"10s\", or a replica that was restarted stays out for too long",
                self.hold_down
            ));
        }
        if self.hold_down_max > Duration::from_secs(600) {
            found.push(format!(
                "cluster.hold_down_max = {:?}: write at most \"10m\", or a replica that was repaired stays out for too long",
                self.hold_down_max
            ));
        }
        found.extend(self.patroni.problems(self.mode == Mode::Patroni));
        found.extend(self.host.problems());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_says_what_to_write() {
        type Change = fn(&mut Config);
        let changes: [(Change, &str); 12] = [
            (|c| c.probe_interval = Duration::from_secs(11), "write at most \"10s\""),
            (|c| c.probe_window = 0, "cluster.probe_window = 0: write 1 to"),
            (|c| c.hold_down_max = Duration::from_secs(1), "lower the first or raise the second"),
            (|c| c.hold_down = Duration::from_secs(11), "cluster.hold_down = 11s: write at most \"10s\""),
            (|c| c.hold_down_max = Duration::from_secs(601), "write at most \"10m\""),
            (|c| c.host.interval = Duration::ZERO, "cluster.host.interval = 0ns: write \"1s\" to \"1h\""),
            (|c| c.host.disk_limit = 1.5, "cluster.host.disk_limit = 1.5: write a share"),
            (|c| c.mode = Mode::Patroni, "write cluster.patroni.urls = ["),
            (|c| c.patroni.urls = vec!["http://db1:8008".into()], "write cluster.mode = \"patroni\", or remove them"),
            (|c| c.patroni.urls = vec!["db1:8008".into()], "number 1 must begin with http:// or https://"),
            (|c| c.patroni.interval = Duration::from_secs(11), "cluster.patroni.interval = 11s: write \"100ms\""),
            (|c| c.patroni.timeout = Duration::ZERO, "cluster.patroni.timeout = 0ns: write \"50ms\""),
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
