//! What people are told by the rules of Prometheus.

use super::super::config::Config;
use super::super::rule::Rule;

/// An alert in words.
pub(super) struct Words {
    /// What is wrong, as a template of Prometheus.
    pub(super) summary: String,
    /// What to do first.
    pub(super) action: &'static str,
}

pub(super) fn of(config: &Config, rule: Rule) -> Words {
    let time = |seconds: f64| format!("{{{{ {seconds} | humanizeDuration }}}}");
    let share = |share: f64| format!("{{{{ {share} | humanizePercentage }}}}");
    let (instance, node) = ("{{ $labels.instance }}", "{{ $labels.node }}");
    let (value_time, value_share) = ("{{ $value | humanizeDuration }}", "{{ $value | humanizePercentage }}");
    let limit = |limit: String| format!("(limit {limit})");
    let (summary, action) = match rule {
        Rule::Latency => (
            format!(
                "{instance}: 1 of 100 calls takes longer than {value_time} {}",
                limit(time(config.latency.fire.as_secs_f64()))
            ),
            "See which method it is, then look for a lock or a lost index.",
        ),
        Rule::ErrorRate => (
            format!("{instance}: {value_share} of calls fail {}", limit(share(config.error_rate.fire))),
            "See which method and which node it is; the log of the application says why.",
        ),
        Rule::Pool => (
            format!("{instance}: {value_share} of the connections are in use {}", limit(share(config.pool.fire))),
            "Look for slow statements first, then raise pool.max.",
        ),
        Rule::Lag => (
            format!("{node} is {value_time} behind the primary {}", limit(time(config.lag.fire.as_secs_f64()))),
            "Long queries on the replica hold replay up; else look at its disk and the network.",
        ),
        Rule::HitRate => (
            format!("{instance}: the cache answers {value_share} of look-ups {}", limit(share(config.hit_rate.fire))),
            "See which method it is: a short ttl, a tag that everything invalidates, or too few cache.entries.",
        ),
        Rule::Node => (
            format!("{node} does not answer, or follows no primary"),
            "The cause is in /metrics/json: host down, full disk, pg_hba.conf, a lost slot.",
        ),
        Rule::Unreached => (
            format!(
                "writes have not reached {node} for {value_time} {}",
                limit(time(config.unreached.fire.as_secs_f64()))
            ),
            "The cause is in /metrics/json: paused replay, a cut connection, lost log, or the node is gone.",
        ),
        Rule::Replicas => (
            format!(
                "{{{{ $value }}}} healthy replicas of {{{{ $labels.job }}}} {}",
                limit(config.replicas.minimum.to_string())
            ),
            "Bring one back, or set alerts.replicas.minimum to what you want.",
        ),
        Rule::Primary => (
            "no node of {{ $labels.job }} accepts writes".into(),
            "Look at the primary's log; promote a replica if it is lost.",
        ),
        Rule::Stray => (
            format!("{node} is a second primary, of another cluster, or named twice"),
            "Stop it before anybody writes to it, and rebuild it as a replica.",
        ),
        Rule::Redis => (
            format!("{instance}: Redis does not answer, each instance has its memory alone"),
            "Calls go on. Start Redis again, or look at the network to it.",
        ),
        Rule::Journal => (
            format!("{instance}: Redis has not heard of {{{{ $value }}}} invalidations"),
            "Other instances may serve what was before until it expires: look at Redis.",
        ),
        Rule::Failover => (
            format!("{node} is the primary now"),
            "Nothing, if you expected it; otherwise look at what became of the one before.",
        ),
    };
    Words { summary, action }
}
