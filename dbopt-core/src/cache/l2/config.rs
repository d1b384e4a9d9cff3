//! The knobs of the second layer.

use std::fmt;
use std::time::Duration;

use super::Error;

/// How Redis is used as the second layer.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where Redis is, such as `redis://user:password@host:6379/0`. A secret: shown nowhere.
    pub url: String,
    /// Separates applications that share a Redis; default `default`. Two applications with one namespace read each
    /// other's entries.
    pub namespace: String,
    /// How long an entry lives; default 300 s (R5). Too high keeps memory for what nobody reads; too low asks the
    /// database more often.
    pub ttl: Duration,
    /// How long a look-up may take; default 5 ms. Too low counts a busy client as a slow Redis; too high makes a slow
    /// Redis slow for every call.
    pub timeout: Duration,
    /// How long connecting, and a ping, may take; default 300 ms.
    pub connect_timeout: Duration,
    /// How long storing and invalidating may take; default 50 ms. A write waits this long before its invalidation goes
    /// to the journal.
    pub write_timeout: Duration,
    /// The largest value that is stored, encoded; default 1 MiB. Large values delay everyone who shares the connection.
    pub max_value_bytes: usize,
    /// Values larger than this are compressed (LZ4); default: none are.
    pub compress_above: Option<usize>,
    /// How long one instance may take to fill an entry before another one tries; default 3 s.
    pub lease: Duration,
    /// Whether this instance takes part in strong consistency; default no. Every instance that writes what others read
    /// with strong consistency must.
    pub strong: bool,
    /// How long a writer's silence lasts before strong reads distrust the cache; default 500 ms. A write whose
    /// invalidation failed waits this long. Too low: a busy client is taken for a silent one.
    pub writer_lease: Duration,
    /// After how long silence a writer is forgotten, and everything cached with it; default 5 min.
    pub forget_after: Duration,
    /// How long strong reads distrust a Redis that lost its data; default 30 s. A writer that has been cut off for longer
    /// is [`Unregistered`](super::Standing::Unregistered).
    pub settle: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            namespace: "default".to_owned(),
            ttl: Duration::from_secs(300),
            timeout: Duration::from_millis(5),
            connect_timeout: Duration::from_millis(300),
            write_timeout: Duration::from_millis(50),
            max_value_bytes: 1 << 20,
            compress_above: None,
            lease: Duration::from_secs(3),
            strong: false,
            writer_lease: Duration::from_millis(500),
            forget_after: Duration::from_secs(300),
            settle: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("namespace", &self.namespace).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl Config {
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |reason| Err(Error::Config(reason));
        if self.namespace.is_empty() || self.namespace.contains(['{', '}']) {
            return wrong("the namespace must not be empty and must not contain `{` or `}`");
        }
        if self.ttl.is_zero()
            || self.timeout.is_zero()
            || self.connect_timeout.is_zero()
            || self.write_timeout.is_zero()
        {
            return wrong("ttl and timeouts must be longer than nothing");
        }
        if self.writer_lease < Duration::from_millis(10) || self.forget_after < self.settle {
            return wrong("writer_lease must be at least 10 ms, and forget_after no shorter than settle");
        }
        Ok(())
    }
}
