//! What each rule asks of Prometheus.

use std::time::Duration;

use super::super::config::{Config, Limit};
use super::super::rule::Rule;
use super::{INTERVAL, alert_name, time};

/// The states, as `dbopt_node_state` names them, in which a node is lost.
pub const LOST: [&str; 3] = ["unreachable", "disconnected", "diverged"];
/// The states in which a node is where it does not belong.
pub const STRAY: [&str; 3] = ["foreign", "fenced", "duplicate"];
/// The states that say neither that a node is well nor that it is not.
pub const OPEN: [&str; 2] = ["unknown", "returning"];

const CALLS: &str = "instance:dbopt_calls:increase";
const TIMED: &str = "instance:dbopt_calls_timed:increase";
const P99: &str = "instance:dbopt_call_duration_seconds:p99";
const ERRORS: &str = "instance:dbopt_call_errors:ratio";
const POOL: &str = "instance:dbopt_pool_connections_in_use:ratio";
const LOOKUPS: &str = "instance:dbopt_cache_lookups:increase";
const HITS: &str = "instance:dbopt_cache_hits:ratio";

/// Whose metrics are judged, and by which limits.
pub(super) struct Scope<'a> {
    pub(super) config: &'a Config,
    /// `job="shop"`.
    pub(super) job: Option<String>,
}

impl Scope<'_> {
    /// What several rules need, as rules that record: `instance:dbopt_call_errors:ratio`.
    pub(super) fn records(&self) -> Vec<(&'static str, String)> {
        let by = "sum by (job, instance)";
        // A rate needs a few samples, whatever the window is here.
        let window = time(self.config.window.max(4 * INTERVAL));
        let increase = |name: &str, matcher: &str| format!("{by} (increase({}[{window}]))", self.metric(name, matcher));
        let kinds = if self.config.error_rate.application { "" } else { "kind=\"infrastructure\"" };
        let refused = increase("dbopt_calls_refused_total", "");
        let buckets = self.metric("dbopt_call_duration_seconds_bucket", "");
        let in_use = self.metric("dbopt_pool_connections_in_use", "");
        let hits = increase("dbopt_cache_lookups_total", "result=\"hit\"");
        vec![
            (TIMED, increase("dbopt_call_duration_seconds_count", "")),
            (CALLS, format!("{}\n+ {refused}", self.metric(TIMED, ""))),
            (P99, format!("histogram_quantile(0.99, sum by (job, instance, le) (rate({buckets}[{window}])))")),
            (
                ERRORS,
                format!(
                    "(\n  {}\n  + {refused}\n) / {}",
                    increase("dbopt_call_errors_total", kinds),
                    self.metric(CALLS, "")
                ),
            ),
            (POOL, format!("{by} ({in_use}) / {by} ({})", self.metric("dbopt_pool_connections_max", ""))),
            // Each look-up asks memory first, and Redis for what is not there.
            (LOOKUPS, increase("dbopt_cache_lookups_total", "layer=\"memory\"")),
            (HITS, format!("{hits}\n/ {}", self.metric(LOOKUPS, ""))),
        ]
    }

    /// True for what is bad, and for what fires and is not yet good again.
    pub(super) fn expression(&self, rule: Rule) -> String {
        let config = self.config;
        match rule {
            Rule::Latency => self.judged(rule, P99, (config.latency.limit(), true), Some(TIMED)),
            Rule::ErrorRate => self.judged(rule, ERRORS, (config.error_rate.limit(), true), Some(CALLS)),
            Rule::Pool => self.judged(rule, POOL, (config.pool.limit(), true), None),
            Rule::HitRate => self.judged(rule, HITS, (config.hit_rate.limit(), false), Some(LOOKUPS)),
            Rule::Lag => self.lag(config.lag.limit()),
            Rule::Unreached => self.of_nodes(rule, "dbopt_replica_unreached_seconds", config.unreached.limit()),
            Rule::Node => self.nodes(rule, &LOST, &OPEN),
            // One that is switched off may be switched on again: silence is no sign that it is gone.
            Rule::Stray => self.nodes(rule, &STRAY, &[&OPEN[..], &["unreachable"]].concat()),
            Rule::Replicas => self.replicas(config.replicas.minimum),
            Rule::Primary => {
                format!("min by (job) (max by (job, instance) ({})) == 0", self.metric("dbopt_node_primary", ""))
            }
            Rule::Redis => format!("max by (job, instance) ({}) == 0", self.metric("dbopt_cache_redis_up", "")),
            Rule::Journal => format!("max by (job, instance) ({}) > 0", self.metric("dbopt_cache_journal", "")),
            Rule::Failover => self.failover(config.failover.shown),
        }
    }

    /// A target that was an instance of an application, and does not answer.
    pub(super) fn instance_down(&self) -> String {
        let uptime = self.metric("dbopt_uptime_seconds", "");
        format!("{} == 0\nand on (job, instance) last_over_time({uptime}[1d])", self.metric("up", ""))
    }

    /// A figure of an instance beyond its limit; a rate only where there is enough traffic, and not at the start.
    fn judged(&self, rule: Rule, name: &str, (limit, rising): (Limit, bool), traffic: Option<&str>) -> String {
        let figure = self.metric(name, "");
        let (beyond, not_yet) = if rising { (">", ">=") } else { ("<", "<=") };
        let on = "and on (job, instance)";
        let mut text = format!(
            "(\n  {figure} {beyond} {}\n  or {figure} {not_yet} {} {on} {}\n)",
            limit.fire,
            limit.resolve,
            firing(rule)
        );
        if let Some(traffic) = traffic {
            let (enough, warm_up) = (self.config.minimum_calls, self.config.warm_up.as_secs_f64());
            let (traffic, uptime) = (self.metric(traffic, ""), self.metric("dbopt_uptime_seconds", ""));
            text.push_str(&format!("\n{on} {traffic} >= {enough}\n{on} {uptime} >= {warm_up}"));
        }
        text
    }

    /// A lag that nobody can tell neither begins an alert nor ends one.
    fn lag(&self, limit: Limit) -> String {
        let name = "dbopt_replication_lag_seconds";
        let lag = format!("max by (job, node) ({})", self.metric(name, ""));
        let firing = format!("max by (job, node) ({})", firing(Rule::Lag));
        let (known, judged) = (self.metric("dbopt_node_up", ""), self.of_nodes(Rule::Lag, name, limit));
        format!("{judged}\nor {firing} and on (job, node) {known} unless on (job, node) {lag}")
    }

    /// A figure of a node above its limit.
    fn of_nodes(&self, rule: Rule, name: &str, Limit { fire, resolve, .. }: Limit) -> String {
        let figure = format!("max by (job, node) ({})", self.metric(name, ""));
        let firing = format!("max by (job, node) ({})", firing(rule));
        format!("{figure} > {fire}\nor {figure} >= {resolve} and on (job, node) {firing}")
    }

    fn nodes(&self, rule: Rule, bad: &[&str], open: &[&str]) -> String {
        let state = |states: &[&str]| {
            let matcher = format!("state=~\"{}\"", states.join("|"));
            format!("max by (job, node) ({}) == 1", self.metric("dbopt_node_state", &matcher))
        };
        let firing = format!("max by (job, node) ({})", firing(rule));
        format!("{}\nor {firing} and on (job, node) {}", state(bad), state(open))
    }

    fn replicas(&self, minimum: usize) -> String {
        let serving = self.metric("dbopt_replicas", "kind=\"serving\"");
        let nodes = format!("count by (job) (count by (job, node) ({}))", self.metric("dbopt_node_up", ""));
        let unknown = format!("(max by (job) ({}) == 1)", self.metric("dbopt_node_state", "state=\"unknown\""));
        let firing = format!("max by (job) ({})", firing(Rule::Replicas));
        format!(
            "min by (job) ({serving}) < {minimum} and on (job) {nodes} > 1 unless on (job) {unknown}\n\
             or {firing} and on (job) {unknown}"
        )
    }

    /// Of the nodes that were the primary lately, if there were several, the one that is it now.
    fn failover(&self, shown: Duration) -> String {
        let primary = self.metric("dbopt_node_primary", "");
        let lately = format!("max by (job, node) (max_over_time({primary}[{}])) == 1", time(shown.max(4 * INTERVAL)));
        format!("max by (job, node) ({primary}) == 1\nand on (job) count by (job) ({lately}) > 1")
    }

    /// `name{job="shop",state="unknown"}`.
    fn metric(&self, name: &str, matcher: &str) -> String {
        let matchers: Vec<&str> = self.job.as_deref().into_iter().chain([matcher]).filter(|m| !m.is_empty()).collect();
        if matchers.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", matchers.join(",")) }
    }
}

/// The alerts of a rule that fire.
fn firing(rule: Rule) -> String {
    format!("ALERTS{{alertname=\"{}\",alertstate=\"firing\"}}", alert_name(rule))
}
