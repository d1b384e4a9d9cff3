//! The limits of the rules, each with its numbers from the requirements.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;

/// When a figure is bad and when it is good again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Beyond it, it is bad.
    pub fire: f64,
    /// On the other side of it, it is good again.
    pub resolve: f64,
}

impl Limit {
    /// A contradiction, with what to write instead. `rising`: the more the worse; `shown`: as it stands in a file.
    pub(super) fn problem(self, name: &str, rising: bool, shown: fn(f64) -> String) -> Option<String> {
        let Limit { fire, resolve } = self;
        let right = if rising { resolve < fire && resolve >= 0.0 } else { resolve > fire };
        let (side, instead) = if rising { ("below", fire * 0.8) } else { ("above", fire + (1.0 - fire) * 0.2) };
        let [fire, resolve, instead] = [fire, resolve, instead].map(shown);
        (!right).then(|| {
            format!(
                "alerts.{name}.resolve = {resolve} is not {side} alerts.{name}.fire = {fire}: an alert that ends where it begins \
                 is told again and again; write resolve = {instead}, or move fire"
            )
        })
    }

    /// A share that is none.
    pub(super) fn share_problem(self, name: &str) -> Option<String> {
        let outside =
            [("fire", self.fire), ("resolve", self.resolve)].into_iter().find(|(_, v)| !(0.0..=1.0).contains(v));
        outside.map(|(which, value)| {
            format!("alerts.{name}.{which} = {value}: write a share between 0.0 and 1.0, such as 0.8 for 80 %")
        })
    }
}

/// A time as it stands in a file.
pub(super) fn shown_time(seconds: f64) -> String {
    let time = Duration::from_millis((seconds.max(0.0) * 1e3).round() as u64);
    format!("\"{}\"", humantime::format_duration(time))
}

/// A share as it stands in a file.
pub(super) fn shown_share(share: f64) -> String {
    format!("{}", (share * 1e3).round() / 1e3)
}

/// A rule on a time.
macro_rules! times {
    ($(#[$doc:meta])* $name:ident, fire $fire_doc:literal = $fire:expr, resolve = $resolve:expr, lasting = $lasting:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            #[doc = $fire_doc]
            #[serde(with = "duration")]
            pub fire: Duration,
            /// Below it, it is good again: lower than `fire`, so that what swings around one limit is one alert.
            #[serde(with = "duration")]
            pub resolve: Duration,
            /// How long it must be bad; `for` in the file. Too low: blips alert. Too high: people hear of it late.
            #[serde(with = "duration", rename = "for")]
            pub lasting: Duration,
        }

        impl Default for $name {
            fn default() -> Self {
                $name { fire: $fire, resolve: $resolve, lasting: $lasting }
            }
        }

        impl $name {
            /// The limit in seconds.
            pub fn limit(&self) -> Limit {
                Limit { fire: self.fire.as_secs_f64(), resolve: self.resolve.as_secs_f64() }
            }
        }
    };
}

/// A rule on a share.
macro_rules! shares {
    ($(#[$doc:meta])* $name:ident, fire $fire_doc:literal = $fire:expr, resolve $resolve_doc:literal = $resolve:expr,
     lasting = $lasting:expr $(, $(#[$extra_doc:meta])* $extra:ident: $type:ty = $value:expr)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            #[doc = $fire_doc]
            pub fire: f64,
            #[doc = $resolve_doc]
            pub resolve: f64,
            /// How long it must be bad; `for` in the file. Too low: blips alert. Too high: people hear of it late.
            #[serde(with = "duration", rename = "for")]
            pub lasting: Duration,
            $($(#[$extra_doc])* pub $extra: $type,)?
        }

        impl Default for $name {
            fn default() -> Self {
                $name { fire: $fire, resolve: $resolve, lasting: $lasting $(, $extra: $value)? }
            }
        }

        impl $name {
            /// The limit.
            pub fn limit(&self) -> Limit {
                Limit { fire: self.fire, resolve: self.resolve }
            }
        }
    };
}

/// A rule on something that is so or not.
macro_rules! states {
    ($($(#[$doc:meta])* $name:ident for $lasting:expr $(, $(#[$extra_doc:meta])* $extra:ident: $type:ty = $value:expr)?;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$extra_doc])* pub $extra: $type,)?
            /// How long it must be so; `for` in the file. Too low: a restart alerts. Too high: people hear of it late.
            #[serde(with = "duration", rename = "for")]
            pub lasting: Duration,
        }

        impl Default for $name {
            fn default() -> Self {
                $name { lasting: $lasting $(, $extra: $value)? }
            }
        }
    )*};
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

times! {
    /// The time that 99 of 100 calls stay below, over all methods: from 100 ms on (10.4), until 80 ms, for 1 min.
    Latency, fire "Above it, it is bad. Default 100 ms." = Duration::from_millis(100), resolve = Duration::from_millis(80),
    lasting = seconds(60)
}

times! {
    /// How far a replica is behind: over 5 s (6.3), until 2 s, for 5 s.
    Lag, fire "Above it, it is bad. Default 5 s." = seconds(5), resolve = seconds(2), lasting = seconds(5)
}

times! {
    /// For how long a write of the primary has not reached a replica (6.1), whatever the reason: over 30 s, until 5 s, for 5 s.
    Unreached, fire "Above it, it is bad. Default 30 s." = seconds(30), resolve = seconds(5), lasting = seconds(5)
}

shares! {
    /// The share of calls that fail: over 5 % (10.4), until 3 %, for 1 min.
    ErrorRate, fire "Above it, it is bad. Default 0.05." = 0.05,
    resolve "Below it, it is good again. Default 0.03; lower than `fire`." = 0.03,
    lasting = seconds(60),
    /// Whether errors that methods return themselves count too (not found, a broken constraint). Default false: those that dbopt returns do.
    application: bool = false
}

shares! {
    /// The share of the connections in use: over 80 % (10.4), until 70 %, for 30 s.
    Pool, fire "Above it, it is bad. Default 0.8." = 0.8,
    resolve "Below it, it is good again. Default 0.7; lower than `fire`." = 0.7,
    lasting = seconds(30)
}

shares! {
    /// The share of look-ups that the cache answers: under 70 % (10.4), until 75 %, for 5 min.
    HitRate, fire "Below it, it is bad. Default 0.7." = 0.7,
    resolve "Above it, it is good again. Default 0.75; higher than `fire`." = 0.75,
    lasting = seconds(300)
}

states! {
    /// A node that does not answer, or a replica that does not follow.
    Node for seconds(5);
    /// Fewer healthy replicas than there should be. Where only one server is configured, nobody expects any.
    Replicas for seconds(30),
    /// How many there should be. Default 2 (2.2).
    minimum: usize = 2;
    /// No node accepts writes.
    Primary for seconds(5);
    /// A second primary, or a node of another cluster.
    Stray for seconds(5);
    /// Redis does not answer, where it is configured.
    Redis for seconds(30);
    /// Invalidations that Redis has not heard of: other instances serve what was before.
    Journal for seconds(30);
}

/// Another node has become the primary (2.5). It is told at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Failover {
    /// How long it stays an alert. Default 10 min.
    #[serde(with = "duration")]
    pub shown: Duration,
}

impl Default for Failover {
    fn default() -> Self {
        Failover { shown: seconds(600) }
    }
}
