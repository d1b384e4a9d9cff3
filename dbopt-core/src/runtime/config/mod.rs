//! The settings of an application: the rooms' knobs, gathered from a file and the environment.

mod failover;
mod load;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::secret::Secret;
pub use failover::FailoverConfig;

use crate::backend::Endpoint;
use crate::error::ConfigError;
use crate::route::balance::Schedule;
use crate::{alert, breaker, cache, cluster, duration, limit, pool, query, route, schema};

/// All settings. [`Config::load`] reads them from `dbopt.toml` and `DBOPT_*` variables.
///
/// ```
/// let config = dbopt_core::runtime::Config::from_toml(r#"
///     [database]
///     url = "postgres://app@db1/shop"
///     replicas = ["postgres://app@db2/shop", "postgres://app@db3/shop"]
///     [pool]
///     max = 30
/// "#).unwrap();
/// assert_eq!((config.pool.min, config.pool.max), (10, 30));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the servers are.
    pub database: Database,
    /// How many connections there are, and for how long.
    pub pool: pool::Config,
    /// Which replicas may serve reads.
    pub routing: route::Config,
    /// How the nodes are watched.
    pub cluster: cluster::Config,
    /// When the coordinator of `dbopt supervise` replaces the primary.
    pub supervise: crate::failover::Config,
    /// What is cached, where, and for how long.
    pub cache: cache::Config,
    /// When a node is left alone for a while.
    pub breaker: breaker::Config,
    /// How often a call that found no connection tries again.
    pub retry: breaker::RetryConfig,
    /// What calls and caches do when another node becomes the primary.
    pub failover: FailoverConfig,
    /// Who may call how often.
    pub limit: limit::Config,
    /// How long a call may take, and how often it is tried.
    pub call: CallConfig,
    /// What is an alert, and who is told.
    pub alerts: alert::Config,
    /// What is kept of statements, and what is said about them.
    pub insight: query::Config,
    /// How migrations are run, and what is asked for before.
    pub schema: schema::Config,
}

/// Where the servers are. Which of them is the primary is found out by asking them, so the order does not matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// The URL of one server: `postgres://user:password@host:port/database?sslmode=verify-full`.
    pub url: Secret,
    /// The URLs of further servers of the same cluster.
    pub replicas: Vec<Secret>,
    /// Instead of the two above: servers with names of your choice, which appear in metrics and logs.
    pub nodes: Vec<Node>,
    /// Beside or instead of the ones above: every address that the host of this URL has in DNS is a server, called by its address and port.
    /// With `sslmode=verify-full` their certificates must have the URL's host name. Default none.
    pub discover: Secret,
    /// How often that name is looked up again. Default 10 s; an address that was missing twice in a row is left. Too low: needless
    /// questions, and a name server that shuffles its answers confuses sooner. Too high: a new server gets no calls for long.
    #[serde(with = "duration")]
    pub discover_interval: Duration,
    /// How many of its addresses are used at most. Default 8; what there is beyond is named in a warning. Too low: servers idle. Too high:
    /// `pool.max` must have a connection for each of them.
    pub discover_max: u32,
}

impl Default for Database {
    fn default() -> Self {
        Database {
            url: Secret::default(),
            replicas: Vec::new(),
            nodes: Vec::new(),
            discover: Secret::default(),
            discover_interval: Duration::from_secs(10),
            discover_max: 8,
        }
    }
}

/// A server with a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The name in metrics, logs and errors.
    pub name: String,
    /// Its URL.
    pub url: Secret,
    /// Where a node exporter tells about its machine, such as `http://db2:9100/metrics`; for `cluster.host.source = "node_exporter"`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_metrics: String,
    /// How much it can do beside the other replicas: one of weight 2 gets twice as many reads, and connections for them, as one of weight 1.
    /// Default 1. Too low: it idles. Too high: it is slow, and the balancer corrects that as far as it can.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// How long a call may take, and how often it is tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallConfig {
    /// The longest a call may take, from routing to commit; a context's own deadline may be sooner. Default 30 s. Too low: slow statements are
    /// cut off. Too high: callers of a frozen server hang for that long.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How often the body of a read is run at most, when its node dies or has to cancel it. Default 3.
    pub attempts: u32,
    /// Whether a write whose connection is lost during COMMIT asks the primary afterwards what became of it, instead of ending with
    /// `OutcomeUnknown`. Default false. It costs each write a transaction number, also one that changes nothing.
    pub resolve_outcome: bool,
}

impl Default for CallConfig {
    fn default() -> Self {
        CallConfig { timeout: Duration::from_secs(30), attempts: 3, resolve_outcome: false }
    }
}

impl Database {
    /// How many nodes there are at most.
    fn count(&self) -> usize {
        let found = if self.discover.is_empty() { 0 } else { self.discover_max as usize };
        self.named() + found
    }

    /// How many servers have a URL of their own.
    fn named(&self) -> usize {
        usize::from(!self.url.is_empty()) + self.replicas.len() + self.nodes.len()
    }

    fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        for node in self.nodes.iter().filter(|node| !(0.01..=100.0).contains(&node.weight)) {
            found.push(format!(
                "database.nodes: the weight {} of `{}` is no capacity: write 0.01 to 100, 1 is usual; to send it no reads, leave it out",
                node.weight, node.name
            ));
        }
        if self.count() > Schedule::MAX_NODES {
            found.push(format!(
                "database: {} servers, those to be found included: name at most {}, such as those near the application",
                self.count(),
                Schedule::MAX_NODES
            ));
        }
        if self.discover_max == 0 {
            found.push("database.discover_max = 0: no server would be used; write at least 1, 8 is usual".into());
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.discover_interval) {
            found.push(format!(
                "database.discover_interval = {:?}: write \"1s\" to \"1h\", \"10s\" is usual",
                self.discover_interval
            ));
        }
        found
    }
}

impl CallConfig {
    fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.timeout.is_zero() {
            found.push("call.timeout = \"0s\": no call could ever run; write a time such as \"30s\"".into());
        }
        if !(1..=10).contains(&self.attempts) {
            found.push(format!("call.attempts = {}: write 1 (never again) to 10", self.attempts));
        }
        found
    }
}

impl Config {
    /// Settings with every default and these servers.
    pub fn for_urls<S: Into<String>>(urls: impl IntoIterator<Item = S>) -> Self {
        let mut urls = urls.into_iter().map(|url| Secret::new(url));
        let mut config = Config::default();
        config.database.url = urls.next().unwrap_or_default();
        config.database.replicas = urls.collect();
        config
    }

    /// The servers to use, after a check of everything.
    pub(crate) fn endpoints(
        &self,
        check_url: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Vec<Endpoint>, ConfigError> {
        let nodes = self.named_nodes()?;
        let mut problems = self.problems();
        for node in &nodes {
            if let Err(why) = check_url(node.url.expose()) {
                problems.push(format!("database: the URL of `{}` cannot be used: {why}", node.name));
            }
        }
        let discover = &self.database.discover;
        if let Err(why) = check_url(discover.expose())
            && !discover.is_empty()
        {
            problems.push(format!("database.discover: the URL cannot be used: {why}"));
        }
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        Ok(nodes.into_iter().map(|node| Endpoint::new(node.name, node.url.expose())).collect())
    }

    /// Every contradiction, each with what to write instead.
    pub fn problems(&self) -> Vec<String> {
        let mut found = self.pool.problems(self.database.count().max(1));
        found.extend(self.routing.problems());
        found.extend(self.cluster.problems());
        found.extend(self.supervise.problems());
        found.extend(self.exporter_problems());
        found.extend(self.cache.problems());
        found.extend(self.breaker.problems());
        found.extend(self.retry.problems());
        found.extend(self.limit.problems());
        found.extend(self.call.problems());
        found.extend(self.alerts.problems());
        found.extend(self.database.problems());
        found.extend(self.schema.problems());
        found.extend(self.insight.problems());
        found
    }

    fn exporter_problems(&self) -> Vec<String> {
        if self.cluster.host.source != cluster::HostSourceKind::NodeExporter {
            return Vec::new();
        }
        if self.database.nodes.iter().all(|node| node.host_metrics.is_empty()) {
            return vec![
                "cluster.host.source = \"node_exporter\" and no exporter is named: write host_metrics = \"http://db1:9100/metrics\" \
                 for each of [[database.nodes]]"
                    .into(),
            ];
        }
        let wrong = |node: &&Node| !node.host_metrics.is_empty() && !node.host_metrics.starts_with("http://");
        let text = |node: &Node| {
            format!(
                "database.nodes: host_metrics of `{}` must begin with http:// (an exporter behind TLS needs a source of your own, in \
                 code)",
                node.name
            )
        };
        self.database.nodes.iter().filter(wrong).map(text).collect()
    }

    /// Where a node exporter tells about the machine of the node called `name`.
    pub(crate) fn exporter_of(&self, name: &str) -> Option<Arc<str>> {
        let node = self.database.nodes.iter().find(|node| node.name == name && !node.host_metrics.is_empty());
        node.map(|node| node.host_metrics.as_str().into())
    }

    /// The nodes' weights, in the order of the endpoints, and those of the slots.
    pub(crate) fn capacities(&self) -> Vec<f64> {
        let mut all: Vec<f64> = self.named_nodes().into_iter().flatten().map(|node| node.weight).collect();
        all.resize(self.database.count(), 1.0);
        all
    }

    /// How many servers have a URL of their own.
    pub(super) fn node_count(&self) -> usize {
        self.database.named()
    }

    /// The servers with their names, in the order of the settings.
    ///
    /// # Errors
    /// When none is named, two have one name, or both forms are used.
    pub fn named_nodes(&self) -> Result<Vec<Node>, ConfigError> {
        let Database { url, replicas, nodes, discover, .. } = &self.database;
        if !nodes.is_empty() && (!url.is_empty() || !replicas.is_empty()) {
            return Err(super::config_error(
                "database.nodes and database.url (or database.replicas) both name servers: keep one of the two forms",
            ));
        }
        if url.is_empty() && nodes.is_empty() && discover.is_empty() {
            return Err(super::config_error(
                "database.url is missing: write it in dbopt.toml as `[database] url = \"postgres://user@host/name\"`, or set the \
                 variable DBOPT_DATABASE_URL",
            ));
        }
        let mut named = nodes.clone();
        named.extend(std::iter::once(url).filter(|u| !u.is_empty()).chain(replicas).map(|url| Node {
            name: host_and_port(url.expose()),
            url: url.clone(),
            host_metrics: String::new(),
            weight: 1.0,
        }));
        for (i, node) in named.iter().enumerate() {
            if named[..i].iter().any(|other| other.name == node.name) {
                return Err(super::config_error(format!(
                    "database: two servers are called `{}`: remove one, or give them different names in [[database.nodes]]",
                    node.name
                )));
            }
        }
        Ok(named)
    }
}

/// `host:port` of a URL, without anything secret; a text that is no URL is not quoted at all.
fn host_and_port(url: &str) -> String {
    let Some((_, rest)) = url.split_once("://") else { return "server".into() };
    let before_query = rest.split('?').next().unwrap_or(rest);
    let after_user = before_query.rsplit_once('@').map_or(before_query, |(_, host)| host);
    match after_user.split('/').next() {
        Some("") | None => "localhost".into(),
        Some(host) => host.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_host_and_port_and_never_hold_the_password() {
        assert_eq!(host_and_port("postgres://u:p@ss@db1:5433/x?sslmode=require"), "db1:5433");
        assert_eq!(host_and_port("postgres:///x"), "localhost");
        assert_eq!(host_and_port("postgres://u:hunter2/x@h/d"), "h");
        assert_eq!(host_and_port("host=h password=hunter2"), "server");
    }

    #[test]
    fn contradictions_are_told_together() {
        let mut config = Config::for_urls(["postgres://db1/x"]);
        config.pool.min = 60;
        config.call.attempts = 0;
        config.routing.max_lag = Duration::ZERO;
        let error = config.endpoints(|_| Ok(())).unwrap_err().to_string();
        for part in ["pool.min = 60", "call.attempts = 0", "routing.max_lag"] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn a_weight_is_a_capacity() {
        let node = |weight: &str| {
            Config::from_toml(&format!("[[database.nodes]]\nname = \"a\"\nurl = \"postgres://a/x\"\n{weight}"))
        };
        assert_eq!(node("").unwrap().capacities(), [1.0]);
        assert_eq!(node("weight = 2.5").unwrap().capacities(), [2.5]);
        let error = node("weight = 0").unwrap_err().to_string();
        assert!(error.contains("the weight 0 of `a`") && error.contains("0.01 to 100"), "{error}");
    }

    #[test]
    fn both_forms_of_naming_servers_are_a_contradiction() {
        let mut config = Config::for_urls(["postgres://db1/x"]);
        config.database.nodes.push(Node {
            name: "a".into(),
            url: Secret::new("postgres://a/x"),
            host_metrics: String::new(),
            weight: 1.0,
        });
        assert!(config.endpoints(|_| Ok(())).unwrap_err().to_string().contains("keep one of the two"));
    }

    #[test]
    fn what_is_to_be_found_is_checked() {
        type Change = fn(&mut Database);
        let changes: [(Change, &str); 4] = [
            (|d| d.discover_max = 0, "database.discover_max = 0: no server would be used; write at least 1"),
            (|d| d.discover_max = 80, "80 servers, those to be found included: name at most 64"),
            (|d| d.discover_interval = Duration::from_millis(900), "discover_interval = 900ms: write \"1s\" to \"1h\""),
            (|d| d.discover_interval = Duration::from_secs(3601), "write \"1s\" to \"1h\""),
        ];
        for (change, wanted) in changes {
            let mut config = Config::from_toml("[database]\ndiscover = \"postgres://u@db/x\"").unwrap();
            assert_eq!(config.capacities(), [1.0; 8]);
            config.pool.max = 100;
            assert_eq!(config.problems(), Vec::<String>::new());
            change(&mut config.database);
            let found = config.problems().join("\n");
            assert!(found.contains(wanted), "{wanted} in {found}");
        }
        let config = Config::from_toml("[database]\ndiscover = \"nonsense\"").unwrap();
        let error = config.endpoints(|_| Err("no URL".into())).unwrap_err().to_string();
        assert!(error.contains("database.discover: the URL cannot be used"), "{error}");
    }

    #[test]
    fn the_same_server_twice_is_refused() {
        let config = Config::for_urls(["postgres://db1/x", "postgres://u:secret@db1/y"]);
        let error = config.endpoints(|_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("`db1`") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn no_server_says_where_to_write_one() {
        let error = Config::default().endpoints(|_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("DBOPT_DATABASE_URL"), "{error}");
    }
}
