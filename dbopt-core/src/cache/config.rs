//! The cache's knobs.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use super::l1::Policy;
use super::{l1, l2};
use crate::duration;
use crate::redis_link;
use crate::secret::Secret;

/// What is kept, where, and for how long (R5, R12).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether `#[cached]` methods are cached at all. Default true. False: each call reads the database.
    pub enabled: bool,
    /// Where Redis or Valkey is: `redis://user:password@host:6379/0`. Default: nowhere, so that each instance has its memory alone.
    /// Several instances without it do not hear of each other's writes.
    pub redis: Secret,
    /// What keeps applications that share a Redis apart. Default `default`.
    pub namespace: String,
    /// How long a result lives in Redis; methods may say otherwise. Default 300 s (5.1). Too low: the database is asked more
    /// often. Too high: what changes behind dbopt's back is noticed late.
    #[serde(with = "duration")]
    pub ttl: Duration,
    /// How long a result lives in memory; methods may say otherwise. Default 60 s (5.2). Never longer than is left of its time in Redis.
    #[serde(with = "duration")]
    pub l1_ttl: Duration,
    /// How long "there is no such row" is kept at most. Default 30 s: rows that are missing tend to appear.
    #[serde(with = "duration")]
    pub none_ttl: Duration,
    /// How long a result is kept while the cache knows that it may not hear of changes: Redis is lost, or an invalidation of the same tags
    /// still waits to be delivered (12.3). Default 1 s.
    #[serde(with = "duration")]
    pub untrusted_ttl: Duration,
    /// How many results are kept in memory, over all methods. Default 1000 (5.2). Too low: what is asked for again is gone.
    /// Too high: memory.
    pub entries: NonZeroUsize,
    /// What results in memory may weigh together, in bytes of their encoded form; 0, the default, is no bound.
    pub bytes: usize,
    /// The share of its lifetime by which an entry's is made longer or shorter, by chance, so that what was filled together does not
    /// expire together. Default 0.1.
    pub jitter: f64,
    /// Who has to go when the memory is full: `lru`, the default, is the entry not asked for the longest; with `scan_resistant` those asked
    /// for once go before those asked for often.
    pub policy: Policy,
    /// How long a look-up in Redis may take before the call goes on without it. Default 5 ms. Too low: a busy client is taken for a slow
    /// Redis. Too high: a slow Redis makes calls slow.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How long a write waits for Redis to take its invalidation before that goes to the journal. Default 50 ms.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// The largest result that goes to Redis, in bytes. Default 1 MiB.
    pub max_value_bytes: usize,
    /// Results larger than this many bytes are compressed in Redis; 0, the default: none are.
    pub compress_above: usize,
    /// How long one instance may take to load a result before another one loads it too. Default 3 s.
    #[serde(with = "duration")]
    pub fill_lease: Duration,
    /// Whether this instance vouches to others that its invalidations arrive, which `consistency = "strong"` needs from every instance
    /// that writes. Default true; a small message to Redis every 150 ms.
    pub vouch: bool,
    /// How long others go on trusting an instance whose invalidations do not arrive; a write whose invalidation failed waits that long
    /// once. Default 500 ms.
    #[serde(with = "duration")]
    pub vouch_lease: Duration,
    /// How long others remember an instance that is not heard of any more, such as one that was killed; until then strong reads go to the
    /// primary, and afterwards everything in Redis is distrusted once. Default 5 min. Too low: an instance that is cut off from Redis for
    /// longer and goes on writing is not noticed by strong readers. Too high: a crash makes strong reads dear for that long.
    #[serde(with = "duration")]
    pub vouch_memory: Duration,
    /// How long strong reads go to the primary after Redis has lost its data, and with it who writes. Default 30 s, and not longer than
    /// `vouch_memory`. Too low and too high: as there.
    #[serde(with = "duration")]
    pub vouch_settle: Duration,
    /// Whether writes also note what they invalidate in a table, in their own transaction, so that a process killed between COMMIT and
    /// Redis loses nothing. Default false. It costs a round trip and a row per such write; the table is `dbopt_cache_outbox`, made at start
    /// where it is missing. Rows that triggers or other programs put there are delivered, too.
    pub outbox: bool,
    /// How long a row stays in the outbox before another instance takes it for forgotten. Default 2 s. Too low: what is delivered anyway is
    /// delivered twice. Too high: what a killed process left is served for longer.
    #[serde(with = "duration")]
    pub outbox_age: Duration,
    /// The share of the read connections that warming uses at once. Default 0.25. Too low: warming takes long. Too high: callers queue
    /// behind it.
    pub warming_share: f64,
    /// How many loads may be under way at once while Redis is lost. Default 32. Too low: calls queue. Too high: a lost
    /// Redis floods the database.
    pub outage_loads: usize,
}

impl Default for Config {
    fn default() -> Self {
        let (memory, redis) = (l1::Config::default(), l2::Config::default());
        Config {
            enabled: true,
            redis: Secret::default(),
            namespace: redis.namespace,
            ttl: redis.ttl,
            l1_ttl: memory.ttl,
            none_ttl: Duration::from_secs(30),
            untrusted_ttl: Duration::from_secs(1),
            entries: memory.entries,
            bytes: 0,
            jitter: memory.jitter,
            policy: Policy::Lru,
            timeout: redis.timeout,
            write_timeout: redis.write_timeout,
            max_value_bytes: redis.max_value_bytes,
            compress_above: 0,
            fill_lease: redis.lease,
            vouch: true,
            vouch_lease: redis.writer_lease,
            vouch_memory: redis.forget_after,
            vouch_settle: redis.settle,
            outbox: false,
            outbox_age: Duration::from_secs(2),
            warming_share: 0.25,
            outage_loads: 32,
        }
    }
}

impl Config {
    /// Every contradiction, each with what to write instead.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let times = [
            ("ttl", self.ttl),
            ("none_ttl", self.none_ttl),
            ("untrusted_ttl", self.untrusted_ttl),
            ("timeout", self.timeout),
            ("write_timeout", self.write_timeout),
            ("fill_lease", self.fill_lease),
        ];
        for (key, time) in times {
            if time.is_zero() {
                found.push(format!(
                    "cache.{key} = \"0s\": write a time above zero; to cache nothing write cache.enabled = false"
                ));
            }
        }
        if self.l1_ttl > self.ttl {
            found.push(format!(
                "cache.l1_ttl = {:?} is longer than cache.ttl = {:?}: memory never outlives Redis; lower the first or raise the second",
                self.l1_ttl, self.ttl
            ));
        }
        found.extend(self.memory().problems());
        if !(self.warming_share > 0.0 && self.warming_share <= 1.0) {
            found.push(format!(
                "cache.warming_share = {}: write a share above 0.0 and up to 1.0, such as 0.25",
                self.warming_share
            ));
        }
        if self.outage_loads == 0 {
            found.push(
                "cache.outage_loads = 0: nothing could be loaded while Redis is lost; write a number such as 32".into(),
            );
        }
        if self.outbox && self.redis.is_empty() {
            found.push("cache.outbox = true needs cache.redis: without it there is nobody to deliver to".into());
        }
        if self.vouch_lease < Duration::from_millis(50) {
            found.push(format!("cache.vouch_lease = {:?}: write at least \"50ms\"", self.vouch_lease));
        }
        if self.vouch_settle > self.vouch_memory || self.vouch_settle < 2 * self.vouch_lease {
            found.push(format!(
                "cache.vouch_settle = {:?}: write a time between twice cache.vouch_lease ({:?}) and cache.vouch_memory ({:?})",
                self.vouch_settle, self.vouch_lease, self.vouch_memory
            ));
        }
        if self.namespace.is_empty() {
            found.push("cache.namespace = \"\": write a name without braces and stars".into());
        }
        found.extend(redis_link::problems("cache", &self.redis, &self.namespace));
        found
    }

    pub(super) fn memory(&self) -> l1::Config {
        l1::Config {
            entries: self.entries,
            ttl: self.l1_ttl,
            jitter: self.jitter,
            bytes: NonZeroUsize::new(self.bytes),
            policy: self.policy,
        }
    }

    pub(super) fn remote(&self) -> Option<l2::Config> {
        if self.redis.is_empty() {
            return None;
        }
        Some(l2::Config {
            url: self.redis.expose().to_owned(),
            namespace: self.namespace.clone(),
            ttl: self.ttl,
            timeout: self.timeout,
            write_timeout: self.write_timeout,
            max_value_bytes: self.max_value_bytes,
            compress_above: (self.compress_above > 0).then_some(self.compress_above),
            lease: self.fill_lease,
            strong: self.vouch,
            writer_lease: self.vouch_lease,
            forget_after: self.vouch_memory,
            settle: self.vouch_settle,
            ..l2::Config::default()
        })
    }
}
