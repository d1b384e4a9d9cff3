//! What is kept of a result.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::config::Config;
use crate::cache::fence::{Fences, Snapshot};
use crate::key::Key;
use crate::position::Position;

/// A value whose type the method knows.
pub type Value = dyn Any + Send + Sync;

/// After a refresh that came to nothing, the next one is due this share of the lifetime later.
const REFRESH_AGAIN: u64 = 10;

/// A result that is to be kept.
#[derive(Debug, Clone)]
pub struct Fill<T> {
    /// The result.
    pub value: T,
    /// What invalidates it.
    pub tags: Arc<[Arc<str>]>,
    /// How its tags stood before the result was read.
    pub snapshot: Snapshot,
    /// Where in the log the node stood that it was read from.
    pub position: Option<Position>,
    /// What the second layer wants to know about it.
    pub remote: Option<Arc<Value>>,
    /// What it weighs.
    pub bytes: usize,
    /// Its lifetime, if it is not the configured one.
    pub ttl: Option<Duration>,
    /// How long it may be served yet for reasons of others: what is left of its time in the second layer.
    pub remaining: Option<Duration>,
    /// How long after it expired it may stand in for a load that fails.
    pub stale_for: Duration,
    /// How long before it expires a refresh is due.
    pub refresh_ahead: Option<Duration>,
}

impl<T> Fill<T> {
    /// `value`, read after `snapshot` was taken of `tags`.
    pub fn new(value: T, tags: Arc<[Arc<str>]>, snapshot: Snapshot) -> Self {
        Fill {
            value,
            tags,
            snapshot,
            position: None,
            remote: None,
            bytes: 0,
            ttl: None,
            remaining: None,
            stale_for: Duration::ZERO,
            refresh_ahead: None,
        }
    }

    /// The same, served no longer than for `remaining`.
    #[must_use]
    pub fn at_most(mut self, remaining: Duration) -> Self {
        self.remaining = Some(self.remaining.map_or(remaining, |already| already.min(remaining)));
        self
    }
}

/// A result that is kept.
pub struct Entry<V: ?Sized = Value> {
    key: Key,
    /// Set when it left the cache: tables of threads must not serve it.
    dead: AtomicBool,
    /// In milliseconds of the cache's clock, as the others.
    expires_at: u64,
    refresh_at: AtomicU64,
    refresh_again: u64,
    snapshot: Snapshot,
    stale_until: u64,
    stored_at: u64,
    tags: Arc<[Arc<str>]>,
    position: Option<Position>,
    remote: Option<Arc<Value>>,
    bytes: usize,
    value: V,
}

impl<V: ?Sized> std::fmt::Debug for Entry<V> {
    /// Without the value: it may be personal.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).field("tags", &self.tags).finish_non_exhaustive()
    }
}

/// What an entry is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// To be served.
    Live,
    /// To stand in for a load that fails.
    Stale,
    /// Nothing: its time is over.
    Expired,
    /// Nothing: what it shows was changed.
    Invalidated,
}

impl Entry {
    pub(super) fn new<T: Send + Sync + 'static>(key: Key, fill: Fill<T>, config: &Config, now: u64) -> Arc<Entry> {
        let ttl = fill.ttl.unwrap_or(config.ttl).mul_f64(1.0 + config.jitter * chance(key.as_ref().hash ^ now));
        let lifetime = fill.remaining.map_or(ttl, |remaining| ttl.min(remaining));
        let expires_at = now.saturating_add(millis(lifetime));
        let refresh_at = match fill.refresh_ahead {
            Some(ahead) => now.saturating_add(millis(lifetime.saturating_sub(ahead))),
            None => u64::MAX,
        };
        Arc::new(Entry {
            key,
            dead: AtomicBool::new(false),
            expires_at,
            refresh_at: AtomicU64::new(refresh_at),
            refresh_again: (millis(lifetime) / REFRESH_AGAIN).max(1),
            snapshot: fill.snapshot,
            stale_until: expires_at.saturating_add(millis(fill.stale_for)),
            stored_at: now,
            tags: fill.tags,
            position: fill.position,
            remote: fill.remote,
            bytes: fill.bytes,
            value: fill.value,
        })
    }

    /// The value, if it is a `T`.
    #[inline]
    pub fn value<T: 'static>(&self) -> Option<&T> {
        self.value.downcast_ref()
    }

    /// What it is kept under.
    #[inline]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What invalidates it.
    pub fn tags(&self) -> &Arc<[Arc<str>]> {
        &self.tags
    }

    /// How its tags stood before it was read.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Where in the log the node stood that it was read from.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// What the second layer wanted to know about it.
    pub fn remote(&self) -> Option<&Arc<Value>> {
        self.remote.as_ref()
    }

    /// What it weighs.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn age(&self, now: u64) -> Duration {
        Duration::from_millis(now.saturating_sub(self.stored_at))
    }

    pub(super) fn remaining(&self, now: u64) -> Duration {
        Duration::from_millis(self.expires_at.saturating_sub(now))
    }

    pub(super) fn state(&self, now: u64, fences: &Fences) -> State {
        if !self.snapshot.holds(fences) {
            State::Invalidated
        } else if now < self.expires_at {
            State::Live
        } else if now < self.stale_until {
            State::Stale
        } else {
            State::Expired
        }
    }

    #[inline]
    pub(super) fn is_in_time(&self, now: u64) -> bool {
        !self.dead.load(Ordering::Acquire) && now < self.expires_at
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    pub(super) fn bury(&self) {
        self.dead.store(true, Ordering::Release);
    }

    /// Whether a refresh is due; true for one caller only until it is due again.
    #[inline]
    pub(super) fn take_refresh(&self, now: u64) -> bool {
        let due = self.refresh_at.load(Ordering::Relaxed);
        now >= due && {
            let again = now.saturating_add(self.refresh_again);
            self.refresh_at.compare_exchange(due, again, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A number from -1 to 1 that looks random for different seeds.
fn chance(seed: u64) -> f64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}
