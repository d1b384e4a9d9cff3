//! The limits of all instances, counted in Redis. Nothing here fails a call: an [`Error`](redis_link::Error) means that the caller decides by itself.

mod gather;
mod link;
mod scripts;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use redis::Client;

use super::cell::Limit;
use crate::redis_link::{self, Gate, Gather};

pub(super) use gather::{Group, Told, Want, lane};
pub(super) use link::keep;

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
    queue: Gather<Store>,
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
            instance: crate::random::id(),
            instances: AtomicUsize::new(0),
            link: link::Link::default(),
            gate: Gate::default(),
            queue: Gather::new(gather::WAITING),
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
