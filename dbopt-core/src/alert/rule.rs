//! What is watched.

use serde::Serialize;

/// What is watched. The names are those of the tables in `[alerts]`, and labels of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The time that 99 of 100 calls stay below.
    Latency,
    /// The share of calls that fail.
    ErrorRate,
    /// The share of the connections that is in use.
    Pool,
    /// How far a replica is behind.
    Lag,
    /// For how long a write has not reached a replica.
    Unreached,
    /// The share of look-ups that the cache answers.
    HitRate,
    /// A node does not answer, or a replica does not follow.
    Node,
    /// Fewer healthy replicas than there should be.
    Replicas,
    /// No node accepts writes.
    Primary,
    /// A second primary, or a node of another cluster.
    Stray,
    /// Redis does not answer.
    Redis,
    /// Invalidations that Redis has not heard of.
    Journal,
    /// Another node has become the primary.
    Failover,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 13] = [
        Rule::Latency,
        Rule::ErrorRate,
        Rule::Pool,
        Rule::Lag,
        Rule::Unreached,
        Rule::HitRate,
        Rule::Node,
        Rule::Replicas,
        Rule::Primary,
        Rule::Stray,
        Rule::Redis,
        Rule::Journal,
        Rule::Failover,
    ];

    /// The name in settings, metrics and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Rule::Latency => "latency",
            Rule::ErrorRate => "error_rate",
            Rule::Pool => "pool",
            Rule::Lag => "lag",
            Rule::Unreached => "unreached",
            Rule::HitRate => "hit_rate",
            Rule::Node => "node",
            Rule::Replicas => "replicas",
            Rule::Primary => "primary",
            Rule::Stray => "stray",
            Rule::Redis => "redis",
            Rule::Journal => "journal",
            Rule::Failover => "failover",
        }
    }

    /// How bad it is.
    pub const fn severity(self) -> Severity {
        match self {
            Rule::Primary | Rule::Stray => Severity::Critical,
            Rule::ErrorRate | Rule::Node => Severity::Error,
            Rule::Failover => Severity::Info,
            _ => Severity::Warning,
        }
    }

    /// Whether it tells of one instance of the application; otherwise of the cluster that all instances share.
    pub const fn is_of_instance(self) -> bool {
        matches!(self, Rule::Latency | Rule::ErrorRate | Rule::Pool | Rule::HitRate | Rule::Redis | Rule::Journal)
    }
}

/// How bad an alert is, in PagerDuty's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Someone should look at it.
    Warning,
    /// Something is broken.
    Error,
    /// Calls are refused, or data are at risk.
    Critical,
}

impl Severity {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
        }
    }
}
