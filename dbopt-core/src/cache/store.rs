//! Both layers together: what is served without a question, what invalidates, and what the loops do.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, interval, sleep_until};

use super::fence::Fences;
use super::flight::Flights;
use super::l1::{Hit, L1};
use super::tally::Tally;
use super::written::{Behind, Gap};
use super::{Cached, Config, Pattern, l2};
use crate::background::Task;
use crate::key::{KeyError, KeyRef};
use crate::position::Position;

/// Between two sweeps of the memory.
const SWEEP: Duration = Duration::from_secs(5);

/// Results that are on their way to Redis at once; what comes on top stays in memory only.
const STORES_UNDER_WAY: usize = 256;

/// Both layers, their fences and the loads under way.
pub struct Cache {
    pub(super) config: Config,
    pub(super) l1: L1,
    pub(super) l2: Option<l2::Layer>,
    pub(super) fences: Arc<Fences>,
    pub(super) flights: Arc<Flights>,
    /// Whether this instance hears of what others invalidate; true where there are no others.
    pub(super) hears: AtomicBool,
    /// Loads under way while Redis is lost.
    pub(super) outage: Arc<Semaphore>,
    pub(super) stores: Arc<Semaphore>,
    pub(super) counts: Counters,
    events: Mutex<Option<mpsc::UnboundedReceiver<l2::Event>>>,
    /// Methods whose arguments made no key, by id; each is told once.
    keyless: Mutex<HashSet<usize>>,
    born: Instant,
    /// Until when loads read the primary: a write's position is not known. Milliseconds since `born`.
    primary_until: AtomicU64,
    max_lag: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) invalidations: AtomicU64,
    pub(super) missed: AtomicU64,
    pub(super) invalidation_micros: AtomicU64,
    pub(super) shared_loads: AtomicU64,
    pub(super) loads: AtomicU64,
    pub(super) loading_micros: AtomicU64,
    /// Look-ups in Redis: answered, not answered, failed.
    pub(super) redis: Tally<3>,
    pub(super) stale_served: AtomicU64,
}

/// What the cache did so far.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct CacheStatus {
    /// Look-ups answered, from memory or from Redis.
    pub hits: u64,
    /// Look-ups that neither answered.
    pub misses: u64,
    /// `hits` as a share of all look-ups, in percent; 0 before the first.
    pub hit_rate_percent: f64,
    /// Of all entries that memory ever held, those that left it for want of room, in percent.
    pub eviction_rate_percent: f64,
    /// Look-ups answered from memory.
    pub l1_hits: u64,
    /// Look-ups not answered from memory.
    pub l1_misses: u64,
    /// Entries that left memory because their time was over.
    pub l1_expired: u64,
    /// Entries that left memory for want of room.
    pub l1_evicted: u64,
    /// Entries that left memory because what they show was changed.
    pub l1_invalidated: u64,
    /// Entries in memory.
    pub l1_entries: usize,
    /// What they weigh, where they were weighed.
    pub l1_bytes: usize,
    /// Whether Redis is configured, and answers.
    pub redis: &'static str,
    /// Look-ups answered from Redis.
    pub l2_hits: u64,
    /// Look-ups that Redis had nothing current for.
    pub l2_misses: u64,
    /// Look-ups and fills that Redis did not answer in time, or at all.
    pub l2_errors: u64,
    /// Results stored in Redis.
    pub l2_stored: u64,
    /// Results not stored because their tags were invalidated while they were loaded.
    pub l2_fenced: u64,
    /// Results loaded from the database.
    pub loads: u64,
    /// How long those took that succeeded, together, in seconds.
    pub load_seconds: f64,
    /// Calls that got the result of another's load.
    pub shared_loads: u64,
    /// Calls answered with an expired result because the database could not be read.
    pub stale_served: u64,
    /// Invalidations.
    pub invalidations: u64,
    /// Invalidations that Redis did not take at once.
    pub invalidations_missed: u64,
    /// The mean time a write spent on its invalidation, in milliseconds.
    pub invalidation_mean_ms: f64,
    /// Invalidations that wait to be delivered.
    pub journal: usize,
}

/// What a write may tell its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledged {
    /// Every instance that asks Redis sees that it happened.
    Everywhere,
    /// Redis has not heard of it: other instances may serve what was before for a while, except to strong readers.
    Here,
}

impl Cache {
    /// An empty cache. `max_lag`: replicas further behind are never read.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(config: Config, max_lag: Duration) -> Result<Arc<Self>, Vec<String>> {
        let fences = Arc::new(Fences::new());
        let (l2, events) = match config.remote().map(l2::Layer::new).transpose() {
            Ok(Some((layer, events))) => (Some(layer), Some(events)),
            Ok(None) => (None, None),
            Err(error) => return Err(vec![format!("cache.redis: {error}")]),
        };
        Ok(Arc::new(Cache {
            l1: L1::new(config.memory(), fences.clone())?,
            hears: AtomicBool::new(l2.is_none()),
            l2,
            fences,
            flights: Arc::default(),
            outage: Arc::new(Semaphore::new(config.outage_loads)),
            stores: Arc::new(Semaphore::new(STORES_UNDER_WAY)),
            counts: Counters::default(),
            events: Mutex::new(events),
            keyless: Mutex::default(),
            born: Instant::now(),
            primary_until: AtomicU64::new(0),
            max_lag,
            config,
        }))
    }

    /// The result of a call, if it is in memory and may be served without asking anybody; to be asked of a cache that is enabled.
    #[inline]
    pub fn near<T: Clone + Send + Sync + 'static>(&self, method: &Cached, key: KeyRef<'_>) -> Option<Hit<T>> {
        if method.strong && self.l2.is_some() || !method.in_memory() {
            return None;
        }
        self.l1.get(key)
    }

    /// Says once per method that its arguments make no key.
    pub fn no_key(&self, method: &Cached, error: &KeyError) {
        if self.keyless.lock().insert(method.op.id()) {
            tracing::warn!(method = method.op.name(), "results are not cached: {error}");
        }
    }

    /// The loops to run, once.
    pub fn tasks(self: &Arc<Self>) -> Vec<Task> {
        if !self.config.enabled {
            return Vec::new();
        }
        let mut tasks: Vec<Task> = self.l2.as_ref().map(l2::Layer::tasks).unwrap_or_default();
        let clock = self.l1.clock().clone();
        tasks.push(("cache-clock", Box::pin(async move { clock.run().await })));
        tasks.push(("cache-sweep", Box::pin(sweep(Arc::downgrade(self)))));
        if let Some(events) = self.events.lock().take() {
            tasks.push(("cache-events", Box::pin(hear(Arc::downgrade(self), events))));
        }
        tasks
    }

    /// Makes everything with one of these tags unservable: here at once, elsewhere through Redis. `position` is where the write was
    /// committed; `None` when that could not be learned.
    ///
    /// Returns when a strong reader anywhere is sure to see the write, whether or not Redis answers.
    ///
    /// # Cancel safety
    /// Dropping it leaves the rest to the journal.
    pub async fn invalidate(&self, tags: &[String], position: Option<Position>) -> Acknowledged {
        self.placed(position);
        self.fences.invalidate(tags, position);
        let _gap = self.gap(Behind::Tags(tags));
        self.deliver(tags, position, None).await.0
    }

    /// Tells Redis; what it does not take goes to the journal.
    pub(super) async fn deliver(
        &self,
        tags: &[String],
        position: Option<Position>,
        lower: Option<Position>,
    ) -> (Acknowledged, Option<l2::Invalidated>) {
        self.counts.invalidations.fetch_add(1, Ordering::Relaxed);
        let Some(l2) = self.remote() else { return (Acknowledged::Everywhere, None) };
        let began = Instant::now();
        let told = l2.invalidate(tags, position, lower).await;
        self.counts.invalidation_micros.fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        match told {
            Ok(done) => (Acknowledged::Everywhere, Some(done)),
            Err(missed) => {
                self.counts.missed.fetch_add(1, Ordering::Relaxed);
                if let Some(silenced_by) = missed.silenced_by {
                    sleep_until(silenced_by).await;
                }
                (Acknowledged::Here, None)
            }
        }
    }

    /// Invalidates every tag, and every entry with a key of its own, whose name matches; returns how many are known in Redis, or, without
    /// Redis, how many entries there were in memory. With `dry_run` nothing is changed.
    ///
    /// # Errors
    /// Why Redis could not be asked; this instance's memory is done in any case.
    ///
    /// # Cancel safety
    /// A part may have been done; repeating it is harmless.
    pub async fn invalidate_pattern(
        &self,
        pattern: &Pattern,
        position: Option<Position>,
        dry_run: bool,
    ) -> Result<u64, l2::Missed> {
        let here = if dry_run { self.count_matching(pattern) } else { self.forget_matching(pattern, position) };
        let _gap = if dry_run { None } else { self.gap(Behind::Everything) };
        match self.remote() {
            Some(l2) => l2.invalidate_pattern(pattern, position, dry_run).await,
            None => Ok(here),
        }
    }

    /// Forgets everything, here and in Redis.
    ///
    /// # Errors
    /// Why Redis could not be asked; this instance's memory is empty in any case.
    pub async fn clear(&self, position: Option<Position>) -> Result<(), l2::Missed> {
        self.forget_here(position);
        let _gap = self.gap(Behind::Everything);
        match self.remote() {
            Some(l2) => l2.clear(position).await,
            None => Ok(()),
        }
    }

    /// Forgets everything in this instance's memory. `position`: what a load must have seen from now on; `None` when nobody knows.
    pub fn forget_here(&self, position: Option<Position>) {
        self.placed(position);
        self.fences.invalidate_all(position);
        self.l1.clear();
    }

    /// Forgets everything, here and in Redis, as [`Cache::clear`] does, and leaves it to Redis to remove in time what nobody is served any more.
    ///
    /// # Errors
    /// Why Redis could not be asked: it is asked again until it takes it, and is not believed before.
    ///
    /// # Cancel safety
    /// Dropping it leaves the rest to the journal.
    pub async fn forget(&self, position: Option<Position>) -> Result<(), l2::Missed> {
        self.forget_here(position);
        let _gap = self.gap(Behind::Everything);
        match self.remote() {
            Some(l2) => l2.begin_anew(position).await,
            None => Ok(()),
        }
    }

    /// Redis, where it is used.
    pub(super) fn remote(&self) -> Option<&l2::Layer> {
        self.l2.as_ref().filter(|_| self.config.enabled)
    }

    /// Begins the time in which memory has heard of a change and Redis has not.
    pub(super) fn gap<'a>(&'a self, behind: Behind<'a>) -> Option<Gap<'a>> {
        self.remote().map(|_| Gap::new(&self.fences, behind))
    }

    fn forget_matching(&self, pattern: &Pattern, position: Option<Position>) -> u64 {
        let matching = self.count_matching(pattern);
        self.placed(position);
        // Loads under way may match too, and nobody knows yet: none of them is kept.
        self.fences.invalidate_all(position);
        matching
    }

    fn count_matching(&self, pattern: &Pattern) -> u64 {
        self.l1.count_where(|entry| entry.tags().iter().any(|tag| pattern.matches(tag))) as u64
    }

    /// What it did so far.
    pub fn status(&self) -> CacheStatus {
        let memory = self.l1.stats();
        let redis = self.l2.as_ref().map(l2::Layer::counts).unwrap_or_default();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let invalidations = count(&self.counts.invalidations);
        let micros = count(&self.counts.invalidation_micros) as f64;
        // Each look-up asks memory first, and Redis for what is not there.
        let (lookups, hits) = (memory.hits + memory.misses, memory.hits + redis.hits);
        let held = memory.expired + memory.evicted + memory.invalidated + memory.entries as u64;
        let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        CacheStatus {
            hits,
            misses: lookups.saturating_sub(hits),
            hit_rate_percent: percent(hits.min(lookups), lookups),
            eviction_rate_percent: percent(memory.evicted, held),
            l1_hits: memory.hits,
            l1_misses: memory.misses,
            l1_expired: memory.expired,
            l1_evicted: memory.evicted,
            l1_invalidated: memory.invalidated,
            l1_entries: memory.entries,
            l1_bytes: memory.bytes,
            redis: match &self.l2 {
                None => "not configured",
                Some(l2) if l2.is_up() => "up",
                Some(_) => "down",
            },
            l2_hits: redis.hits,
            l2_misses: redis.absent
                + redis.outdated
                + redis.collisions
                + redis.unreadable
                + redis.distrusted
                + redis.held,
            l2_errors: redis.timed_out + redis.refused + redis.down + redis.server_errors,
            l2_stored: redis.stored,
            l2_fenced: redis.fenced,
            loads: count(&self.counts.loads),
            load_seconds: count(&self.counts.loading_micros) as f64 / 1e6,
            shared_loads: count(&self.counts.shared_loads),
            stale_served: count(&self.counts.stale_served),
            invalidations,
            invalidations_missed: count(&self.counts.missed),
            invalidation_mean_ms: if invalidations == 0 { 0.0 } else { micros / 1e3 / invalidations as f64 },
            journal: self.l2.as_ref().map_or(0, l2::Layer::journal_len),
        }
    }

    /// Look-ups in memory by the method's id.
    pub fn lookups(&self) -> Vec<(usize, super::l1::Lookups)> {
        self.l1.lookups()
    }

    /// Look-ups in Redis by the method's id: answered, not answered, failed.
    pub fn lookups_in_redis(&self) -> Vec<(usize, [u64; 3])> {
        self.counts.redis.by_method()
    }

    /// Entries that left memory by the method's id: expired, evicted, invalidated.
    pub fn left(&self) -> Vec<(usize, [u64; 3])> {
        self.l1.left()
    }

    /// Whether it is used at all.
    pub fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    /// Delivers what waits until `deadline`; returns how many invalidations could not be delivered.
    pub async fn shutdown(&self, deadline: Instant) -> usize {
        match &self.l2 {
            Some(l2) => l2.shutdown(deadline).await,
            None => 0,
        }
    }

    /// Where nobody knows what a load must have seen, it reads the primary. Said before the fences are raised.
    pub(super) fn placed(&self, position: Option<Position>) {
        if position.is_none() {
            let until = self.born.elapsed() + self.max_lag;
            self.primary_until.fetch_max(until.as_millis() as u64, Ordering::AcqRel);
        }
    }

    /// Whether loads must read the primary, because nobody knows which replicas have the last write.
    pub(super) fn reads_primary(&self) -> bool {
        let until = self.primary_until.load(Ordering::Acquire);
        until > 0 && (self.born.elapsed().as_millis() as u64) < until
    }

    fn told(&self, event: l2::Event) {
        match event {
            l2::Event::Invalidated { tags, position } => {
                self.placed(position);
                self.fences.invalidate(&tags, position);
            }
            l2::Event::Pattern(_) | l2::Event::Cleared => {
                // What it was done for may not be on every replica yet.
                self.placed(None);
                self.fences.invalidate_all(None);
            }
            l2::Event::Down => {
                self.hears.store(false, Ordering::Release);
                self.fences.invalidate_all(None);
            }
            l2::Event::Up => {
                // In this order: what is kept for longer from now on was loaded after everything that was missed.
                self.fences.invalidate_all(None);
                self.hears.store(true, Ordering::Release);
            }
        }
    }
}

async fn sweep(cache: std::sync::Weak<Cache>) {
    let mut ticks = interval(SWEEP);
    loop {
        ticks.tick().await;
        let Some(cache) = cache.upgrade() else { return };
        cache.l1.sweep();
    }
}

async fn hear(cache: std::sync::Weak<Cache>, mut events: mpsc::UnboundedReceiver<l2::Event>) {
    while let Some(event) = events.recv().await {
        let Some(cache) = cache.upgrade() else { return };
        cache.told(event);
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("status", &self.status()).finish_non_exhaustive()
    }
}
