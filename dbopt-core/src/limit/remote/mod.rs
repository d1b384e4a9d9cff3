//! The limits of all instances, counted in Redis. Nothing here fails a call: an [`Error`] means that the caller decides by itself.

mod gather;
mod link;
mod scripts;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use redis::Client;
use tokio::sync::Notify;

use super::cell::Limit;
use crate::redis_link::{self, Gate};

pub(super) use gather::{Group, Told, Want};

/// Why Redis gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("Redis did not answer in time")]
    TimedOut,
    #[error("there is no connection to Redis")]
    Down,
    #[error("Redis was not asked: it is too slow at the moment")]
    Refused,
    #[error("Redis refused the command: {0}")]
    Server(String),
}

impl From<redis::RedisError> for Error {
    fn from(error: redis::RedisError) -> Self {
        if error.is_timeout() {
            Error::TimedOut
        } else if error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error() {
            Error::Down
        } else {
            Error::Server(format!("{} {}", error.code().unwrap_or("ERR"), error.detail().unwrap_or_default()))
        }
    }
}

/// Permits that were not used.
#[derive(Debug)]
pub(super) struct Unused {
    pub(super) key: Arc<str>,
    pub(super) limit: Arc<Limit>,
    pub(super) stamp: u64,
    pub(super) count: u32,
}

/// Who must be told that Redis is there again, before it is asked for permits.
pub(super) trait Owner: Send + Sync {
    /// What Redis has to hear of first; after it lost its data, everything that is still counted here.
    fn owed(&self, everything: bool) -> Vec<Group>;
}

/// The store of one namespace.
pub(super) struct Store {
    client: Client,
    prefix: String,
    timeout: Duration,
    instance: String,
    instances: AtomicUsize,
    link: link::Link,
    pub(super) gate: Gate,
    queue: gather::Queue,
    closed: Notify,
    pub(super) counts: Counts,
}

/// What the store did.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) asked: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) leased: AtomicU64,
    pub(super) returned: AtomicU64,
}

pub(super) fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Store {
    pub(super) fn new(url: &str, namespace: &str, timeout: Duration) -> Result<Self, &'static str> {
        Ok(Store {
            client: redis_link::client(url)?,
            prefix: format!("dbopt:{{{namespace}}}:l:"),
            timeout,
            instance: format!("{:016x}", crate::random::number()),
            instances: AtomicUsize::new(0),
            link: link::Link::default(),
            gate: Gate::default(),
            queue: gather::Queue::new(),
            closed: Notify::new(),
            counts: Counts::default(),
        })
    }

    /// The prefix of all keys.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// For how long an answer may be used, counted from the question.
    pub(super) fn single_life(&self) -> u64 {
        super::window::millis(self.timeout) + 1
    }

    /// How long somebody waits for an answer to another one's question.
    pub(super) fn patience(&self) -> Duration {
        2 * self.timeout
    }

    /// Whether asking makes sense.
    #[inline]
    pub(super) fn is_usable(&self) -> bool {
        self.link.is_ready() && !self.gate.refuses()
    }

    /// Instances that were seen lately, this one included.
    pub(super) fn instances(&self) -> usize {
        self.instances.load(Relaxed).max(1)
    }
}

/// Keeps the connection.
pub(super) async fn keep(store: Arc<Store>, owner: std::sync::Weak<dyn Owner>) {
    link::run(store, owner).await;
}

/// One of the lanes that questions go through.
pub(super) async fn lane(store: Arc<Store>) {
    gather::run(store).await;
}

/// How many lanes there are.
pub(super) const LANES: usize = gather::LANES;
