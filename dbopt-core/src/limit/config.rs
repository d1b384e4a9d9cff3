//! The knobs of the rate limits.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::duration;
use crate::rate::Rates;
use crate::redis_link;
use crate::secret::Secret;

/// The largest limit that is counted exactly: each call of a window is kept.
const MOST_EXACT: u32 = 1000;

/// Who may call how often, and where that is counted (R7). A rate is a number, `/` and `s`, `min`, `h` or `d`; several with commas
/// between them hold together (`"5/s, 100/min"`); an empty text is no limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether anything is limited. Default true.
    pub enabled: bool,
    /// Calls of each caller of methods with `#[rate_limited]`, all of them together. Default `100/min` (7.1).
    pub per_user: Rates,
    /// Calls of all callers of these methods. Default `10000/min` (7.2).
    pub global: Rates,
    /// Calls that reach the database, of every method, whatever its attributes. Default: no limit. It protects the database from
    /// all that this application does: too low, and calls are refused that it could have served.
    pub database: Rates,
    /// In how many parts a window is counted. Default 20: a window then behaves like one that is up to a twentieth longer. More cost
    /// memory per caller; `exact` keeps each call of a window, for limits up to 1000.
    pub precision: Precision,
    /// Where Redis or Valkey is, so that limits hold over all instances. Default: where the cache's is (`cache.redis`). Without one each
    /// instance has the limits for itself.
    pub redis: Secret,
    /// What keeps applications that share a Redis apart. Default: as the cache's (`cache.namespace`).
    pub namespace: String,
    /// How long a question to Redis may take, before `when_redis_is_lost` decides. Default 5 ms. Too low: a busy client is taken for a
    /// slow Redis. Too high: a slow Redis makes calls slow.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// What holds while Redis cannot be asked. Default `local share`.
    pub when_redis_is_lost: WhenLost,
    /// The part of each limit that this instance admits while Redis is lost; 0, the default: one divided by the instances seen lately.
    pub local_share: f64,
    /// How long permits fetched ahead are used. Default 1 s, and never longer than a twentieth of the window. A call fetched ahead
    /// counts until its window and this time have passed. Too low: Redis is asked more often. Too high: what an idle instance
    /// holds is missing elsewhere.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// The largest part of a limit that an instance may fetch ahead at once. Default 0.05. 0: Redis is asked for every call. Too high:
    /// callers are refused while another instance holds what they need.
    pub lease_share: f64,
    /// How many callers are told apart in memory, per limit. Default 30000; about 250 bytes for each. Callers beyond that share what is
    /// left, or with Redis are asked about there each time: they may be refused too early, never too late.
    pub callers: usize,
    /// Limits of single users in place of `per_user`.
    pub users: BTreeMap<String, Rates>,
    /// How long the answer about one user's limit is kept, where the application gives one (`set_user_limits`). Default 1 min.
    #[serde(with = "duration")]
    pub users_ttl: Duration,
}

/// In how many parts a window is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// In so many buckets.
    Buckets(u32),
    /// Each call by itself.
    Exact,
}

/// What holds while Redis cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WhenLost {
    /// Each instance admits its share of every limit.
    #[default]
    #[serde(rename = "local share")]
    LocalShare,
    /// Everything is admitted.
    #[serde(rename = "open")]
    Open,
    /// Everything limited is refused.
    #[serde(rename = "closed")]
    Closed,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            per_user: Rates::one(const { NonZeroU32::new(100).unwrap() }, MINUTE),
            global: Rates::one(const { NonZeroU32::new(10_000).unwrap() }, MINUTE),
            database: Rates::default(),
            precision: Precision::Buckets(20),
            redis: Secret::default(),
            namespace: String::new(),
            timeout: Duration::from_millis(5),
            when_redis_is_lost: WhenLost::default(),
            local_share: 0.0,
            lease: Duration::from_secs(1),
            lease_share: 0.05,
            callers: 30_000,
            users: BTreeMap::new(),
            users_ttl: MINUTE,
        }
    }
}

impl Config {
    /// Every contradiction, each with what to write instead.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if let Precision::Buckets(buckets) = self.precision
            && !(2..=1000).contains(&buckets)
        {
            found.push(format!("limit.precision = {buckets}: write a number from 2 to 1000, such as 20, or \"exact\""));
        }
        for (key, rates) in self.all_rates() {
            let most = rates.windows().iter().map(|rate| rate.count.get()).max().unwrap_or(0);
            if self.precision == Precision::Exact && most > MOST_EXACT {
                found.push(format!(
                    "limit.precision = \"exact\" keeps each call of a window, and {key} = \"{rates}\" has too many: limit at most \
                     {MOST_EXACT}, or write limit.precision = 100"
                ));
            }
        }
        for (key, time) in [("timeout", self.timeout), ("lease", self.lease), ("users_ttl", self.users_ttl)] {
            if time.is_zero() {
                found.push(format!("limit.{key} = \"0s\": write a time above zero"));
            }
        }
        if self.timeout > Duration::from_secs(1) {
            found.push(format!(
                "limit.timeout = {:?}: calls would wait for that; write up to \"1s\", such as \"5ms\"",
                self.timeout
            ));
        }
        for (key, share) in [("local_share", self.local_share), ("lease_share", self.lease_share)] {
            if !(0.0..=1.0).contains(&share) {
                found.push(format!("limit.{key} = {share}: write a share from 0.0 to 1.0"));
            }
        }
        if !(16..=10_000_000).contains(&self.callers) {
            found.push(format!("limit.callers = {}: write a number from 16 to 10000000, such as 30000", self.callers));
        }
        if self.users.keys().any(|user| user.trim().is_empty()) {
            found.push("limit.users has a user without a name: remove it, or write the name".into());
        }
        found.extend(redis_link::problems("limit", &self.redis, &self.namespace));
        found
    }

    fn all_rates(&self) -> impl Iterator<Item = (String, &Rates)> {
        let named = [("per_user", &self.per_user), ("global", &self.global), ("database", &self.database)];
        let named = named.into_iter().map(|(key, rates)| (format!("limit.{key}"), rates));
        named.chain(self.users.iter().map(|(user, rates)| (format!("limit.users.{user}"), rates)))
    }

    pub(super) fn buckets(&self) -> u32 {
        match self.precision {
            Precision::Buckets(buckets) => buckets,
            Precision::Exact => 0,
        }
    }
}

impl Serialize for Precision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Precision::Buckets(buckets) => serializer.collect_str(buckets),
            Precision::Exact => serializer.serialize_str("exact"),
        }
    }
}

impl<'de> Deserialize<'de> for Precision {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Precision;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of parts such as 20, or \"exact\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Precision, E> {
                if text == "exact" {
                    return Ok(Precision::Exact);
                }
                text.parse().map(Precision::Buckets).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Precision, E> {
                let buckets = u32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))?;
                Ok(Precision::Buckets(buckets))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Precision, E> {
                let buckets =
                    u32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))?;
                Ok(Precision::Buckets(buckets))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_requirement() {
        let config = Config::default();
        assert_eq!((config.per_user.to_string(), config.global.to_string()), ("100/min".into(), "10000/min".into()));
        assert!(config.database.is_empty() && config.problems().is_empty());
    }

    #[test]
    fn what_cannot_work_says_what_to_write() {
        let config = Config {
            precision: Precision::Exact,
            timeout: Duration::from_secs(9),
            lease: Duration::ZERO,
            local_share: 1.5,
            callers: 1,
            namespace: "{a}".into(),
            users: [(" ".to_owned(), Rates::default())].into(),
            redis: Secret::new("localhost"),
            ..Config::default()
        };
        let problems = config.problems().join("\n");
        for part in [
            "limit.precision = \"exact\"",
            "limit.global = \"10000/min\"",
            "limit.timeout",
            "limit.lease",
            "limit.local_share = 1.5",
            "limit.callers = 1",
            "limit.namespace",
            "limit.users",
            "limit.redis",
        ] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
    }
}
