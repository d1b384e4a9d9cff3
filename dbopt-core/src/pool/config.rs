//! The pool's knobs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::breaker::BackoffPolicy;
use crate::duration;

/// How many connections an application instance holds, and for how long (R4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Connections that are open at all times, over all nodes and lanes. Default 10 (4.1). Too low: a burst waits for new
    /// connections. Too high: the server's `max_connections` is eaten by idle instances.
    pub min: u32,
    /// Connections that are ever open, over all nodes and lanes. Default 50 (4.1). Too low: callers queue. Too high: many
    /// instances together exceed the server's `max_connections`.
    pub max: u32,
    /// How long a connection above the minimum may idle before it is closed. Default 300 s (4.2).
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// How long a connection lives at most; each gets up to a tenth less, so that they do not all end together. Default
    /// 3600 s. Too low: the cost of connecting and planning again. Too high: memory of old server processes.
    #[serde(with = "duration")]
    pub max_lifetime: Duration,
    /// How long opening a connection may take, TLS and login included. Default 2 s.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long a caller waits in the queue at most. Default 5 s.
    #[serde(with = "duration")]
    pub acquire_timeout: Duration,
    /// How many callers may wait per pool; the next one is refused at once. Default 1024.
    pub max_waiting: usize,
    /// The share of connections in use from which a warning is logged; it is withdrawn ten points lower. Default 0.8 (4.3).
    pub utilisation_warning: f64,
    /// How long a call may hold a connection before its method is named in the log. Default 60 s.
    #[serde(with = "duration")]
    pub leak_warning: Duration,
    /// The share of `max` that is for writes. Default 0.3.
    pub write_share: f64,
    /// The share of `max` that is reserved for critical calls. Default 0.1.
    pub critical_share: f64,
    /// The wait after a failed connection attempt; it doubles with each further one. Default 1 s (4.4).
    #[serde(with = "duration")]
    pub backoff_initial: Duration,
    /// The longest wait between connection attempts. Default 30 s.
    #[serde(with = "duration")]
    pub backoff_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            min: 10,
            max: 50,
            idle_timeout: Duration::from_secs(300),
            max_lifetime: Duration::from_secs(3600),
            connect_timeout: Duration::from_secs(2),
            acquire_timeout: Duration::from_secs(5),
            max_waiting: 1024,
            utilisation_warning: 0.8,
            leak_warning: Duration::from_secs(60),
            write_share: 0.3,
            critical_share: 0.1,
            backoff_initial: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Every contradiction, each with what to write instead. `nodes` is the number of servers.
    pub fn problems(&self, nodes: usize) -> Vec<String> {
        let mut found = Vec::new();
        let mut refuse = |wrong: bool, text: String| {
            if wrong {
                found.push(text);
            }
        };
        let pools = nodes + 2;
        refuse(
            self.min > self.max,
            format!("pool.min = {} is more than pool.max = {}: lower min or raise max", self.min, self.max),
        );
        refuse(
            (self.max as usize) < pools,
            format!(
                "pool.max = {} is too small for {nodes} nodes: every node needs a read connection, the primary one for writes \
                 and one for critical calls too; write at least {pools}",
                self.max
            ),
        );
        refuse(
            !(0.2..=1.0).contains(&self.utilisation_warning),
            format!(
                "pool.utilisation_warning = {}: write a share between 0.2 and 1.0, such as 0.8",
                self.utilisation_warning
            ),
        );
        for (key, share) in [("write_share", self.write_share), ("critical_share", self.critical_share)] {
            refuse(
                !(0.0..1.0).contains(&share),
                format!("pool.{key} = {share}: write a share from 0.0 to below 1.0, such as 0.2"),
            );
        }
        refuse(
            self.write_share + self.critical_share >= 1.0,
            format!(
                "pool.write_share + pool.critical_share = {}: they leave nothing for reads; keep the sum below 1.0",
                self.write_share + self.critical_share
            ),
        );
        for (key, value) in [
            ("idle_timeout", self.idle_timeout),
            ("max_lifetime", self.max_lifetime),
            ("connect_timeout", self.connect_timeout),
            ("acquire_timeout", self.acquire_timeout),
            ("leak_warning", self.leak_warning),
            ("backoff_initial", self.backoff_initial),
        ] {
            refuse(value.is_zero(), format!("pool.{key} = \"0s\": write a time above zero, such as \"5s\""));
        }
        refuse(
            self.backoff_initial > self.backoff_max,
            format!(
                "pool.backoff_initial = {:?} is more than pool.backoff_max = {:?}: swap them",
                self.backoff_initial, self.backoff_max
            ),
        );
        refuse(
            self.idle_timeout > self.max_lifetime,
            format!(
                "pool.idle_timeout = {:?} is more than pool.max_lifetime = {:?} and would never be reached: lower it",
                self.idle_timeout, self.max_lifetime
            ),
        );
        found
    }

    pub(crate) fn backoff(&self) -> BackoffPolicy {
        BackoffPolicy { initial: self.backoff_initial, max: self.backoff_max }
    }
}
