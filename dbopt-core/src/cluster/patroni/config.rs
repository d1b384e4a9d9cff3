//! The knobs of Patroni mode.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ask::Address;
use crate::duration;
use crate::secret::Secret;

/// Where Patroni's REST API is, for `cluster.mode = "patroni"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PatroniConfig {
    /// The addresses of several members, as `restapi.connect_address` has them: `http://db1:8008`. One is asked, and the next one if it does
    /// not answer. Default none. With `user:password@` before the host, `dbopt switchover` can give orders. Too few: when those members are
    /// gone, Patroni's word is missing, and the servers alone decide.
    pub urls: Vec<Secret>,
    /// How often one of them is asked, give or take a tenth; four times as often while the leader is not confirmed. Default 1 s. Too low:
    /// Patroni answers one request at a time. Too high: a new leader is followed late.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// How long a member may take to answer before the next one is asked. Default 1 s. Too low: a busy one is passed over. Too high: a
    /// frozen one, which takes connections and says nothing, holds up the others.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// A PEM file with the authority that signed the members' certificates (`restapi.certfile`), for `https://`, as in a connection's URL.
    /// Default `system`: the system's authorities. With another one than theirs the application does not start.
    pub sslrootcert: String,
}

impl Default for PatroniConfig {
    fn default() -> Self {
        PatroniConfig {
            urls: Vec::new(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            sslrootcert: "system".into(),
        }
    }
}

impl PatroniConfig {
    /// Every contradiction, each with what to write instead; `follows`: whether Patroni is to be followed.
    pub(in crate::cluster) fn problems(&self, follows: bool) -> Vec<String> {
        let mut found = Vec::new();
        if follows && self.urls.is_empty() {
            found.push(
                "cluster.mode = \"patroni\" and no address of Patroni: write cluster.patroni.urls = [\"http://db1:8008\", \
                 \"http://db2:8008\"], with the restapi.connect_address of each member"
                    .into(),
            );
        }
        if !follows && !self.urls.is_empty() {
            found.push(
                "cluster.patroni.urls: nobody is asked there: write cluster.mode = \"patroni\", or remove them".into(),
            );
        }
        if follows && !cfg!(feature = "patroni") {
            found.push("cluster.mode = \"patroni\": build dbopt with its feature `patroni`".into());
        }
        for (i, url) in self.urls.iter().enumerate() {
            if let Err(why) = Address::new(url) {
                found.push(format!("cluster.patroni.urls: number {} {why}", i + 1));
            }
        }
        if self.sslrootcert.is_empty() {
            found.push(
                "cluster.patroni.sslrootcert is empty: write the PEM file of the authority that signed the members' certificates, or \"system\""
                    .into(),
            );
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(10)).contains(&self.interval) {
            found.push(format!(
                "cluster.patroni.interval = {:?}: write \"100ms\" to \"10s\", \"1s\" is usual",
                self.interval
            ));
        }
        if !(Duration::from_millis(50)..=Duration::from_secs(10)).contains(&self.timeout) {
            found.push(format!(
                "cluster.patroni.timeout = {:?}: write \"50ms\" to \"10s\", \"1s\" is usual",
                self.timeout
            ));
        }
        found
    }
}
