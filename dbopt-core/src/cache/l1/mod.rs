//! The first layer: typed values in this process.
//!
//! All methods share one store, which is bounded, split into shards and knows nothing of types. In front of it each thread
//! has a small table; nearly all hits end there.

mod clock;
mod config;
mod counts;
mod entry;
mod front;
mod lru;
mod place;
mod scan;
mod store;

pub use clock::{Clock, TICK};
pub use config::{Config, Policy};
pub use counts::Lookups;
pub use entry::{Entry, Fill, Value};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::counts::{Counts, Left};
use self::entry::State;
use self::place::Places;
use crate::cache::fence::Fences;
use crate::key::{Key, KeyRef};

/// After so many hits of a method a thread looks at the real time and at what was swept.
const ATTEND: u64 = 64;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Results kept in memory, of all methods.
pub struct L1 {
    id: u64,
    config: Config,
    fences: Arc<Fences>,
    clock: Arc<Clock>,
    places: Places,
    counts: Counts,
    /// Grows with every sweep.
    sweeps: AtomicU64,
}

impl std::fmt::Debug for L1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("L1").field("config", &self.config).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// An answer from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit<T> {
    /// A clone of the value.
    pub value: T,
    /// Whether this caller should load it anew, in the background. One caller is told so, and another one some time
    /// later if nothing came of it.
    pub refresh: bool,
}

/// What was counted, and what there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lookups answered from memory.
    pub hits: u64,
    /// Lookups not answered from memory.
    pub misses: u64,
    /// Entries that left because their time was over.
    pub expired: u64,
    /// Entries that left for want of room.
    pub evicted: u64,
    /// Entries that left because what they show was changed, or that came too late to be stored.
    pub invalidated: u64,
    /// Entries there are.
    pub entries: usize,
    /// What they weigh.
    pub bytes: usize,
}

impl L1 {
    /// An empty cache behind `fences`.
    ///
    /// # Errors
    /// The contradictions in `config`, or that there is no memory for so many entries.
    pub fn new(config: Config, fences: Arc<Fences>) -> Result<Self, Vec<String>> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(problems);
        }
        let places = Places::new(&config)
            .ok_or_else(|| vec![format!("cache.entries = {} is more than there is memory for", config.entries)])?;
        Ok(L1 {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            config,
            fences,
            clock: Arc::default(),
            places,
            counts: Counts::default(),
            sweeps: AtomicU64::new(0),
        })
    }

    /// The clock that [`Clock::run`] should move on while the cache is used.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// The fences in front of it.
    pub fn fences(&self) -> &Arc<Fences> {
        &self.fences
    }

    /// The value of `key`, if there is one that may be served.
    // Through memory, the answer costs as much as the lookup.
    #[inline(always)]
    pub fn get<T: Clone + Send + Sync + 'static>(&self, key: KeyRef<'_>) -> Option<Hit<T>> {
        let near = front::look(self.id, |front| {
            let (slot, entry) = front.find(key)?;
            let now = self.clock.now();
            if !entry.is_in_time(now) || !slot.holds(entry, &self.fences) {
                return None;
            }
            let age = self.places.age(key.hash);
            if slot.told.get() != age && self.places.tell(key) {
                slot.told.set(age);
            }
            let hit = Hit { value: entry.value::<T>()?.clone(), refresh: entry.take_refresh(now) };
            Some((hit, front.counts.hit(key.method) % ATTEND == 0))
        });
        match near {
            Some((hit, false)) => Some(hit),
            Some((hit, true)) => {
                self.attend();
                Some(hit)
            }
            None => self.get_from_shard(key),
        }
    }

    #[inline(never)]
    fn get_from_shard<T: Clone + Send + Sync + 'static>(&self, key: KeyRef<'_>) -> Option<Hit<T>> {
        let now = self.clock.now();
        let age = self.places.age(key.hash);
        let found = self.find(key, now);
        let hit = found
            .as_ref()
            .and_then(|entry| Some(Hit { value: entry.value::<T>()?.clone(), refresh: entry.take_refresh(now) }));
        let is_hit = hit.is_some();
        let mut displaced = None;
        let counted = self.change_front(|front| {
            if is_hit {
                front.counts.hit(key.method);
                displaced = found.and_then(|entry| front.put(entry, age));
            } else {
                front.counts.miss(key.method);
            }
            front.is_time()
        });
        match counted {
            None => self.counts.homeless(key.method, is_hit),
            Some(false) => {}
            Some(true) => {
                self.clock.exact();
            }
        }
        drop(displaced);
        hit
    }

    /// What is kept under `key`, if it may be served. Counts as no lookup.
    pub fn entry(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        self.find(key, self.clock.exact())
    }

    /// What is kept under `key`, if it may be served or stand in for a load that failed. Never what was invalidated.
    pub fn stale(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        let entry = self.places.peek(key)?;
        matches!(entry.state(self.clock.exact(), &self.fences), State::Live | State::Stale).then_some(entry)
    }

    /// How long ago an entry was stored, and how long it may be served yet.
    pub fn age_and_remaining(&self, entry: &Entry) -> (Duration, Duration) {
        let now = self.clock.exact();
        (entry.age(now), entry.remaining(now))
    }

    /// Keeps a result under `key`, unless it was invalidated since its snapshot or weighs more than the whole cache may.
    /// Returns whether it was kept.
    pub fn insert<T: Send + Sync + 'static>(&self, key: Key, fill: Fill<T>) -> bool {
        if !fill.snapshot.holds(&self.fences) {
            self.counts.left(key.as_ref(), Left::Invalidated);
            return false;
        }
        // Where the clock is late the entry only expires a little earlier.
        let entry = Entry::new(key, fill, &self.config, self.clock.now());
        let (kept, gone) = self.places.insert(entry);
        gone.evicted().for_each(|entry| self.counts.left(entry.key().as_ref(), Left::Evicted));
        kept
    }

    /// Takes out what is kept under `key`. Says nothing to fills under way: that is what the fences are for.
    pub fn remove(&self, key: KeyRef<'_>) -> bool {
        let removed = self.places.remove(key, |_| true);
        if removed.is_some() {
            self.counts.left(key, Left::Invalidated);
        }
        removed.is_some()
    }

    /// How many entries `matches` says yes to.
    pub fn count_where(&self, mut matches: impl FnMut(&Entry) -> bool) -> usize {
        let mut count = 0;
        self.places.retain(&mut |entry| {
            count += usize::from(matches(entry));
            true
        });
        count
    }

    /// Takes out every entry of which `matches` says so, by its key or its tags; returns how many. For patterns that fills
    /// under way may match too, [`Fences::invalidate_all`] comes first. `matches` runs under a lock and must not use the cache.
    pub fn invalidate_where(&self, mut matches: impl FnMut(&Entry) -> bool) -> usize {
        let out = self.places.retain(&mut |entry| !matches(entry));
        out.iter().for_each(|entry| self.counts.left(entry.key().as_ref(), Left::Invalidated));
        self.sweeps.fetch_add(1, Ordering::Release);
        out.len()
    }

    /// Takes out everything, and keeps fills under way from being stored.
    pub fn clear(&self) -> usize {
        self.fences.invalidate_all(None);
        self.invalidate_where(|_| true)
    }

    /// Takes out what can be served no more, and has the threads' tables do the same. Called every few seconds.
    pub fn sweep(&self) -> usize {
        let now = self.clock.exact();
        let out = self.places.retain(&mut |entry| {
            let why = match entry.state(now, &self.fences) {
                State::Live | State::Stale => return true,
                State::Expired => Left::Expired,
                State::Invalidated => Left::Invalidated,
            };
            self.counts.left(entry.key().as_ref(), why);
            false
        });
        self.sweeps.fetch_add(1, Ordering::Release);
        out.len()
    }

    /// What was counted, and what there is.
    pub fn stats(&self) -> Stats {
        let [expired, evicted, invalidated] = self.counts.left.all();
        let mut stats = Stats {
            expired,
            evicted,
            invalidated,
            entries: self.places.room().used(),
            bytes: self.places.room().weight(),
            ..Stats::default()
        };
        for (_, lookups) in self.lookups() {
            stats.hits += lookups.hits;
            stats.misses += lookups.misses;
        }
        stats
    }

    /// Lookups by the method's id.
    pub fn lookups(&self) -> Vec<(usize, Lookups)> {
        self.counts.by_method()
    }

    /// Entries that left by the method's id: expired, evicted, invalidated.
    pub fn left(&self) -> Vec<(usize, [u64; 3])> {
        self.counts.left.by_method()
    }

    /// The entry of `key` if it may be served; takes it out if it never will be again.
    fn find(&self, key: KeyRef<'_>, now: u64) -> Option<Arc<Entry>> {
        let entry = self.places.get(key)?;
        let why = match entry.state(now, &self.fences) {
            State::Live => return Some(entry),
            State::Stale => return None,
            State::Expired => Left::Expired,
            State::Invalidated => Left::Invalidated,
        };
        // Another may have stored a new one in the meantime.
        if self.places.remove(key, |there| Arc::ptr_eq(there, &entry)).is_some() {
            self.counts.left(key, why);
        }
        None
    }

    fn change_front<R>(&self, change: impl FnOnce(&mut front::Front) -> R) -> Option<R> {
        let sweeps = self.sweeps.load(Ordering::Acquire);
        let mut swept = Vec::new();
        let make = || (self.config.entries.get(), self.counts.thread(), Arc::downgrade(self.places.room()));
        let done = front::change(self.id, make, |front| {
            if front.swept != sweeps {
                front.swept = sweeps;
                front.sweep(&mut swept);
            }
            change(front)
        });
        // Values are the user's: they are dropped when nothing is borrowed any more.
        drop(swept);
        done
    }

    /// What a thread that has nothing but hits does now and then.
    #[cold]
    fn attend(&self) {
        self.clock.exact();
        self.change_front(|_| ());
    }
}

#[cfg(test)]
mod tests;
