//! The knobs of machine statistics.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Limits;
use crate::duration;

/// Who tells how busy a node's machine is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostSourceKind {
    /// Nobody.
    #[default]
    None,
    /// The server itself, in SQL: it needs a grant.
    Sql,
    /// A node exporter of Prometheus beside each server, where `host_metrics` of [`[[database.nodes]]`] says.
    ///
    /// [`[[database.nodes]]`]: crate::runtime::config::Node
    NodeExporter,
}

/// How busy the nodes' machines are, and who tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostConfig {
    /// Who tells: `none`, `sql` or `node_exporter`. Default `none`. A source of the application's own, given in code, goes before it.
    pub source: HostSourceKind,
    /// How often it is asked. Default 10 s; a reading holds for three times as long. Too low: needless load. Too high: a machine that is
    /// overloaded is noticed late.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// How long it may take to answer. Default 2 s. Too low: a busy machine has no readings. Too high: readings are old when they come.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// What `sql` asks: one row with `stat` and `meminfo`, the texts of the files of that name in /proc, or with shares from 0 to 1 called
    /// `cpu`, `memory` and `disk`; what is missing is absent. Default: `pg_read_file` of both files.
    pub query: String,
    /// The file system that `node_exporter` is asked for: a folder on it, such as the data directory. Default empty: the fullest one.
    pub mount: String,
    /// A node whose processors are busy for more than this share of the time is degraded. Default 0.95. Too low: it is said without need.
    /// Too high: nobody hears of it.
    pub cpu_limit: f64,
    /// The same for its memory. Default 0.95.
    pub memory_limit: f64,
    /// The same for its disk. Default 0.9.
    pub disk_limit: f64,
}

/// Reading with a length, as files in /proc have none of their own.
const QUERY: &str =
    "SELECT pg_read_file('/proc/stat', 0, 1024) AS stat, pg_read_file('/proc/meminfo', 0, 4096) AS meminfo";

impl Default for HostConfig {
    fn default() -> Self {
        HostConfig {
            source: HostSourceKind::None,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            query: QUERY.into(),
            mount: String::new(),
            cpu_limit: 0.95,
            memory_limit: 0.95,
            disk_limit: 0.9,
        }
    }
}

impl HostConfig {
    pub(in crate::cluster) fn limits(&self) -> Limits {
        Limits { cpu: self.cpu_limit, memory: self.memory_limit, disk: self.disk_limit }
    }

    /// For how long a reading holds.
    pub(in crate::cluster) fn reading_holds(&self) -> Duration {
        self.interval * 3
    }

    /// Every contradiction, each with what to write instead.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !(Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&self.interval) {
            found.push(format!("cluster.host.interval = {:?}: write \"1s\" to \"1h\"", self.interval));
        }
        if self.timeout.is_zero() || self.timeout > self.interval.max(Duration::from_secs(1)) {
            found.push(format!(
                "cluster.host.timeout = {:?}: write a time above zero and not above cluster.host.interval = {:?}",
                self.timeout, self.interval
            ));
        }
        if self.query.trim().is_empty() {
            found.push("cluster.host.query is empty: leave it out, or set cluster.host.source = \"none\"".into());
        }
        let limits =
            [("cpu_limit", self.cpu_limit), ("memory_limit", self.memory_limit), ("disk_limit", self.disk_limit)];
        for (name, limit) in limits {
            if !(limit > 0.05 && limit <= 1.0) {
                found.push(format!("cluster.host.{name} = {limit}: write a share above 0.05 and up to 1"));
            }
        }
        if self.source == HostSourceKind::NodeExporter && !cfg!(feature = "exporter") {
            found.push("cluster.host.source = \"node_exporter\": build dbopt with its feature `exporter`".into());
        }
        found
    }
}
