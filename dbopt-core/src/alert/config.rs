//! The knobs of alerts.

mod channels;
mod limits;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use channels::{Email, PagerDuty, Slack, Tls, Webhook};
pub use limits::{
    ErrorRate, Failover, HitRate, Journal, Lag, Latency, Limit, Node, Pool, Primary, Redis, Replicas, Stray, Unreached,
};

use limits::{shown_share, shown_time};

use super::rule::Rule;
use super::state::Timing;
use crate::duration;

/// What is an alert, who is told, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether anything is watched. Default true: without a channel, alerts are in the log, the metrics and the status.
    pub enabled: bool,
    /// Rules that are not watched, such as `["hit_rate"]`. Default none.
    pub off: Vec<String>,
    /// What the alerts are about: the name of your application or cluster, part of every dedupe key. Default `dbopt`. All instances of one
    /// application need the same, and two clusters that alert the same people need different ones.
    pub source: String,
    /// The name of this instance in alerts about itself. Default: the host's name. Two processes on one host need different ones.
    pub instance: String,
    /// How often everything is judged. Default 1 s. Too low: needless work. Too high: alerts come later by as much.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// The time that rates (calls, errors, look-ups) are taken over. Default 30 s. Too low: a few slow calls are 1 %. Too high: what is over
    /// still shows.
    #[serde(with = "duration")]
    pub window: Duration,
    /// How many calls, or look-ups, there must be in the window for a rate to mean something. Default 100. Too low: one failed call in a quiet
    /// night is 100 %. Too high: a quiet application is never judged.
    pub minimum_calls: u64,
    /// How long after the start no rate is judged: the cache is empty, the pools are filling. Default 2 min.
    #[serde(with = "duration")]
    pub warm_up: Duration,
    /// How long everything must be well again before an alert is over. Default 30 s. Too low: what comes and goes is told each time. Too high:
    /// the end is told late.
    #[serde(with = "duration")]
    pub hold: Duration,
    /// How many messages a channel sends in any hour at most; what comes on top is summed up. Default 30: half of them may go out at once, then
    /// one every 4 minutes. Too low: news comes late. Too high: a bad night fills an inbox.
    pub per_hour: u32,
    /// How many messages may wait for a channel whose receiver is down. Default 200. Too low: what began and ended meanwhile is not told.
    pub queue: usize,
    /// How long a receiver may take to answer. Default 10 s. Too low: a slow one gets messages twice. Too high: the next message waits.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How long a message that is not taken is sent again and again, after 1, 2, 4 and up to 60 s. Default 1 h; then it is dropped, and logged.
    #[serde(with = "duration")]
    pub retry_for: Duration,
    /// The time that 99 of 100 calls stay below.
    pub latency: Latency,
    /// The share of calls that fail.
    pub error_rate: ErrorRate,
    /// The share of the connections in use.
    pub pool: Pool,
    /// How far a replica is behind.
    pub lag: Lag,
    /// For how long a write has not reached a replica.
    pub unreached: Unreached,
    /// The share of look-ups that the cache answers.
    pub hit_rate: HitRate,
    /// A node that does not answer, or a replica that does not follow.
    pub node: Node,
    /// Too few healthy replicas.
    pub replicas: Replicas,
    /// No node accepts writes.
    pub primary: Primary,
    /// A second primary, or a node of another cluster.
    pub stray: Stray,
    /// Redis does not answer.
    pub redis: Redis,
    /// Invalidations that Redis has not heard of.
    pub journal: Journal,
    /// Another node has become the primary.
    pub failover: Failover,
    /// Who gets mail.
    pub email: Email,
    /// Which Slack channel is told.
    pub slack: Slack,
    /// Which PagerDuty service is told.
    pub pagerduty: PagerDuty,
    /// Which HTTP address is told.
    pub webhook: Webhook,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            off: Vec::new(),
            source: "dbopt".into(),
            instance: String::new(),
            interval: Duration::from_secs(1),
            window: Duration::from_secs(30),
            minimum_calls: 100,
            warm_up: Duration::from_secs(120),
            hold: Duration::from_secs(30),
            per_hour: 30,
            queue: 200,
            timeout: Duration::from_secs(10),
            retry_for: Duration::from_secs(3600),
            latency: Latency::default(),
            error_rate: ErrorRate::default(),
            pool: Pool::default(),
            lag: Lag::default(),
            unreached: Unreached::default(),
            hit_rate: HitRate::default(),
            node: Node::default(),
            replicas: Replicas::default(),
            primary: Primary::default(),
            stray: Stray::default(),
            redis: Redis::default(),
            journal: Journal::default(),
            failover: Failover::default(),
            email: Email::default(),
            slack: Slack::default(),
            pagerduty: PagerDuty::default(),
            webhook: Webhook::default(),
        }
    }
}

impl Config {
    /// Whether the rule is watched.
    pub fn watches(&self, rule: Rule) -> bool {
        !self.off.iter().any(|name| name == rule.name())
    }

    /// The times of a rule.
    pub fn timing(&self, rule: Rule) -> Timing {
        let measured = |lasting| Timing { lasting, hold: self.hold, gap: Duration::ZERO };
        // What is either so or not is never smoothed by a window: something that keeps coming and going counts as bad.
        let state = |lasting| Timing { lasting, hold: self.hold, gap: lasting };
        match rule {
            Rule::Latency => measured(self.latency.lasting),
            Rule::ErrorRate => measured(self.error_rate.lasting),
            Rule::Pool => measured(self.pool.lasting),
            Rule::Lag => measured(self.lag.lasting),
            Rule::Unreached => measured(self.unreached.lasting),
            Rule::HitRate => measured(self.hit_rate.lasting),
            Rule::Node => state(self.node.lasting),
            Rule::Replicas => state(self.replicas.lasting),
            Rule::Primary => state(self.primary.lasting),
            Rule::Stray => state(self.stray.lasting),
            Rule::Redis => state(self.redis.lasting),
            Rule::Journal => measured(self.journal.lasting),
            Rule::Failover => Timing { lasting: Duration::ZERO, hold: Duration::ZERO, gap: Duration::ZERO },
        }
    }

    /// The channels that are configured.
    pub fn channels(&self) -> Vec<&'static str> {
        let configured = [
            ("email", !self.email.host.is_empty()),
            ("slack", !self.slack.url.is_empty()),
            ("pagerduty", !self.pagerduty.routing_key.is_empty()),
            ("webhook", !self.webhook.url.is_empty()),
        ];
        configured.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect()
    }

    /// Every contradiction, each with what to write instead.
    pub fn problems(&self) -> Vec<String> {
        let mut found = self.wrong_times();
        let names: Vec<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        for name in self.off.iter().filter(|name| !names.contains(&name.as_str())) {
            found.push(format!("alerts.off = \"{name}\": there is no such rule; write some of {}", names.join(", ")));
        }
        if self.source.trim().is_empty() {
            found.push("alerts.source = \"\": write the name of your application, such as \"shop\"".into());
        }
        if self.minimum_calls == 0 {
            found.push(
                "alerts.minimum_calls = 0: one failed call would be an error rate of 100 %; write at least 1, 100 is usual"
                    .into(),
            );
        }
        if self.per_hour < 2 {
            let n = self.per_hour;
            found.push(format!("alerts.per_hour = {n}: an alert and its end are 2 messages; write at least 2"));
        }
        if !(8..=100_000).contains(&self.queue) {
            found.push(format!("alerts.queue = {}: write 8 to 100000, 200 is usual", self.queue));
        }
        found.extend(self.limit_problems());
        found.extend(self.email.problems());
        found.extend(self.slack.problems());
        found.extend(self.pagerduty.problems());
        found.extend(self.webhook.problems());
        if cfg!(not(feature = "alerts"))
            && let Some(name) = self.channels().first()
        {
            found.push(format!(
                "alerts.{name}: this build cannot send alerts; enable the feature `alerts` of dbopt-diesel in Cargo.toml"
            ));
        }
        found
    }

    fn wrong_times(&self) -> Vec<String> {
        let mut found = Vec::new();
        let second = Duration::from_secs(1);
        let mut within = |name: &str, value: Duration, least: Duration, most: Duration, usual: &str| {
            if !(least..=most).contains(&value) {
                let [value, least, most] = [value, least, most].map(humantime::format_duration);
                found.push(format!("alerts.{name} = \"{value}\": write \"{least}\" to \"{most}\", {usual} is usual"));
            }
        };
        within("interval", self.interval, second / 20, second * 60, "\"1s\"");
        within("window", self.window, self.interval, second * 600, "\"30s\"");
        within("warm_up", self.warm_up, Duration::ZERO, second * 86400, "\"2m\"");
        within("hold", self.hold, second / 10, second * 86400, "\"30s\"");
        within("timeout", self.timeout, second / 10, second * 120, "\"10s\"");
        within("retry_for", self.retry_for, second, second * 86400 * 7, "\"1h\"");
        found
    }

    fn limit_problems(&self) -> Vec<String> {
        // A failover is an event: it does not last.
        let lasting = Rule::ALL.into_iter().filter(|rule| *rule != Rule::Failover);
        let zero = lasting.filter(|rule| self.timing(*rule).lasting.is_zero()).map(|rule| {
            let name = rule.name();
            format!(
                "alerts.{name}.for = \"0s\": the slightest blip would alert; write a time such as \"30s\", or turn the rule off \
                 with `off = [\"{name}\"]` in [alerts]"
            )
        });
        let mut found: Vec<String> = zero.collect();
        found.extend(self.latency.limit().problem("latency", true, shown_time));
        found.extend(self.lag.limit().problem("lag", true, shown_time));
        found.extend(self.unreached.limit().problem("unreached", true, shown_time));
        found.extend(self.error_rate.limit().problem("error_rate", true, shown_share));
        found.extend(self.pool.limit().problem("pool", true, shown_share));
        found.extend(self.hit_rate.limit().problem("hit_rate", false, shown_share));
        for (name, limit) in
            [("error_rate", self.error_rate.limit()), ("pool", self.pool.limit()), ("hit_rate", self.hit_rate.limit())]
        {
            found.extend(limit.share_problem(name));
        }
        if self.replicas.minimum == 0 {
            found.push(
                "alerts.replicas.minimum = 0: that never alerts; write at least 1, or turn the rule off with \
                 `off = [\"replicas\"]` in [alerts]"
                    .into(),
            );
        }
        if self.failover.shown.is_zero() {
            found.push(
                "alerts.failover.shown = \"0s\": write how long a failover stays an alert, such as \"10m\"".into(),
            );
        }
        found
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
