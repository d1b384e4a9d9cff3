//! The shards: where an entry stands, and who makes room for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::config::{Config, Policy};
use super::entry::Entry;
use super::lru::Lru;
use super::scan::Scan;
use super::store::{Gone, Room, Store};
use crate::key::KeyRef;

/// Fewer entries than this are not worth a lock of their own.
const LEAST_PER_SHARD: usize = 64;
/// The scan resistant store bounds each shard for itself; below this size it is one shard, which holds exactly what it may.
const SCAN_LEAST_PER_SHARD: usize = 16 * 1024;
const MAX_SHARDS: usize = 256;
/// A shard is told of an entry's use again after so many parts of it were replaced.
const AGES: usize = 8;

pub(super) struct Places {
    shards: Box<[Shard]>,
    room: Arc<Room>,
    /// Inserts into a shard that make it one age older.
    age_length: u64,
}

/// On cache lines of its own: the age is read by all threads, the lock is written.
#[repr(align(128))]
struct Shard {
    age: Age,
    store: Mutex<Inside>,
}

#[repr(align(128))]
struct Age(AtomicU64);

struct Inside {
    store: Box<dyn Store>,
    inserts: u64,
}

impl Places {
    pub(super) fn new(config: &Config) -> Option<Self> {
        let entries = config.entries.get();
        let bytes = config.bytes.map(std::num::NonZeroUsize::get);
        let room = Arc::new(Room::new(entries, bytes));
        let least = match config.policy {
            Policy::Lru => LEAST_PER_SHARD,
            Policy::ScanResistant => SCAN_LEAST_PER_SHARD,
        };
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let wanted = (threads * 4).next_power_of_two().min(MAX_SHARDS);
        let fit = (entries / least).max(1);
        // The largest power of two that fits.
        let count = wanted.min(1 << fit.ilog2());
        let shard = |i: usize| {
            // What does not divide goes to the first ones.
            let share = |whole: usize| whole / count + usize::from(i < whole % count);
            let store: Box<dyn Store> = match config.policy {
                Policy::Lru => Box::new(Lru::new(share(entries), room.clone())?),
                Policy::ScanResistant => Box::new(Scan::new(share(entries), bytes.map(share), room.clone())?),
            };
            Some(Shard { age: Age(AtomicU64::new(0)), store: Mutex::new(Inside { store, inserts: 0 }) })
        };
        let shards = (0..count).map(shard).collect::<Option<Box<[Shard]>>>()?;
        Some(Places { shards, room, age_length: (entries / count / AGES).max(1) as u64 })
    }

    pub(super) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// How often a good part of the shard was replaced.
    #[inline]
    pub(super) fn age(&self, hash: u64) -> u64 {
        self.shard(hash).age.0.load(Ordering::Relaxed)
    }

    /// Tells the shard that an entry is used, unless it is busy.
    #[cold]
    pub(super) fn tell(&self, key: KeyRef<'_>) -> bool {
        match self.shard(key.hash).store.try_lock() {
            Some(mut inside) => inside.store.get(key).is_some(),
            None => false,
        }
    }

    pub(super) fn get(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        self.shard(key.hash).store.lock().store.get(key).cloned()
    }

    pub(super) fn peek(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        self.shard(key.hash).store.lock().store.peek(key).cloned()
    }

    /// Puts `entry` in; says whether it stayed, and who left.
    pub(super) fn insert(&self, entry: Arc<Entry>) -> (bool, Gone) {
        let mut gone = Gone::default();
        if !self.room.holds(entry.bytes()) {
            self.remove(entry.key().as_ref(), |_| true);
            return (false, gone);
        }
        let home = self.index(entry.key().as_ref().hash);
        let this = Arc::as_ptr(&entry);
        let mut waiting = Some(entry);
        // A place that another shard gives up may be taken by somebody else: then it is asked for again, but not for ever,
        // because a cache that is this contended can do without one entry.
        for _ in 0..=self.shards.len() {
            let Some(entry) = waiting.take() else { break };
            match self.put(home, entry, &mut gone) {
                Ok(()) => break,
                Err(entry) => waiting = Some(entry),
            }
            self.evict_from(home + 1, &mut gone);
        }
        let mut next = home;
        while self.room.is_overweight() && self.evict_from(next, &mut gone) {
            next += 1;
        }
        let left = gone.iter().any(|entry| std::ptr::addr_eq(Arc::as_ptr(entry), this));
        (waiting.is_none() && !left, gone)
    }

    fn put(&self, home: usize, entry: Arc<Entry>, gone: &mut Gone) -> Result<(), Arc<Entry>> {
        let shard = &self.shards[home];
        let mut inside = shard.store.lock();
        inside.store.insert(entry, gone)?;
        inside.inserts += 1;
        if inside.inserts.is_multiple_of(self.age_length) {
            shard.age.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Evicts one entry, from the first shard that has one.
    fn evict_from(&self, first: usize, gone: &mut Gone) -> bool {
        let order = (0..self.shards.len()).map(|i| &self.shards[(first + i) % self.shards.len()]);
        order.into_iter().any(|shard| shard.store.lock().store.evict(gone))
    }

    /// Takes the entry of `key` out if it is the one that is meant.
    pub(super) fn remove(&self, key: KeyRef<'_>, meant: impl FnOnce(&Arc<Entry>) -> bool) -> Option<Arc<Entry>> {
        let mut inside = self.shard(key.hash).store.lock();
        if !inside.store.peek(key).is_some_and(meant) {
            return None;
        }
        let removed = inside.store.remove(key)?;
        removed.bury();
        Some(removed)
    }

    /// Takes out all that are not to be kept.
    pub(super) fn retain(&self, keep: &mut dyn FnMut(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let mut out = Vec::new();
        for shard in &self.shards {
            out.append(&mut shard.store.lock().store.retain(keep));
        }
        out.iter().for_each(|entry| entry.bury());
        out
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.store.lock().store.len()).sum()
    }

    #[inline]
    fn index(&self, hash: u64) -> usize {
        (hash >> 44) as usize & (self.shards.len() - 1)
    }

    #[inline]
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[self.index(hash)]
    }
}
