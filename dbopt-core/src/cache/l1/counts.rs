//! Lookups, counted by the thread that makes them: a counter that all threads write would cost more than the lookup.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::cache::tally::Tally;
use crate::key::KeyRef;

const CHUNK: usize = 64;
/// Methods beyond the last chunk are counted together.
const CHUNKS: usize = 64;

/// The lookups of one method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Answered from memory.
    pub hits: u64,
    /// Not answered from memory.
    pub misses: u64,
}

#[derive(Default)]
struct Pair {
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What one thread counted. Only that thread writes.
pub(super) struct ThreadCounts {
    chunks: [OnceLock<Box<[Pair; CHUNK]>>; CHUNKS],
}

impl Default for ThreadCounts {
    fn default() -> Self {
        ThreadCounts { chunks: [const { OnceLock::new() }; CHUNKS] }
    }
}

impl ThreadCounts {
    /// Counts a hit; gives how many there were.
    #[inline]
    pub(super) fn hit(&self, method: usize) -> u64 {
        let hits = &self.pair(method).hits;
        let now = hits.load(Ordering::Relaxed) + 1;
        hits.store(now, Ordering::Relaxed);
        now
    }

    pub(super) fn miss(&self, method: usize) {
        let misses = &self.pair(method).misses;
        misses.store(misses.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    #[inline]
    fn pair(&self, method: usize) -> &Pair {
        let method = method.min(CHUNK * CHUNKS - 1);
        let chunk = self.chunks[method / CHUNK].get_or_init(|| Box::new(std::array::from_fn(|_| Pair::default())));
        &chunk[method % CHUNK]
    }
}

/// Why an entry left; its place in [`Counts::left`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Expired,
    Evicted,
    Invalidated,
}

/// What all threads counted, and what became of entries.
#[derive(Default)]
pub(super) struct Counts {
    threads: Mutex<Threads>,
    pub(super) left: Tally<3>,
}

#[derive(Default)]
struct Threads {
    running: Vec<Arc<ThreadCounts>>,
    /// Of threads that ended, and of lookups made while a thread was ending.
    ended: Vec<Lookups>,
}

impl Counts {
    /// Counts an entry that left.
    pub(super) fn left(&self, key: KeyRef<'_>, why: Left) {
        self.left.one(key.method, why as usize);
    }

    /// The counters of a thread that is new to the cache.
    pub(super) fn thread(&self) -> Arc<ThreadCounts> {
        let counts = Arc::<ThreadCounts>::default();
        self.threads.lock().running.push(counts.clone());
        counts
    }

    /// Counts a lookup of a thread that has no counters.
    pub(super) fn homeless(&self, method: usize, is_hit: bool) {
        let mut threads = self.threads.lock();
        let lookups = of(&mut threads.ended, method.min(CHUNK * CHUNKS - 1));
        if is_hit {
            lookups.hits += 1;
        } else {
            lookups.misses += 1;
        }
    }

    /// Lookups by method id; methods that made none are left out.
    pub(super) fn by_method(&self) -> Vec<(usize, Lookups)> {
        let mut threads = self.threads.lock();
        let Threads { running, ended } = &mut *threads;
        // Only the list has the counters of a thread that ended.
        running.retain(|counts| {
            let runs = Arc::strong_count(counts) > 1;
            if !runs {
                add(ended, counts);
            }
            runs
        });
        let mut all = ended.clone();
        running.iter().for_each(|counts| add(&mut all, counts));
        all.into_iter().enumerate().filter(|(_, lookups)| *lookups != Lookups::default()).collect()
    }
}

fn add(all: &mut Vec<Lookups>, counts: &ThreadCounts) {
    for (i, chunk) in counts.chunks.iter().enumerate() {
        for (j, pair) in chunk.get().into_iter().flat_map(|chunk| chunk.iter().enumerate()) {
            let (hits, misses) = (pair.hits.load(Ordering::Acquire), pair.misses.load(Ordering::Acquire));
            if hits + misses > 0 {
                let lookups = of(all, i * CHUNK + j);
                lookups.hits += hits;
                lookups.misses += misses;
            }
        }
    }
}

fn of(all: &mut Vec<Lookups>, method: usize) -> &mut Lookups {
    if all.len() <= method {
        all.resize(method + 1, Lookups::default());
    }
    &mut all[method]
}
