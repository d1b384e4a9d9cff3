//! Where entries stand, by policy: one of these behind the lock of each shard.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::entry::Entry;
use crate::key::{KeyRef, Keyed};

/// A policy's store of one shard.
pub(super) trait Store: Send {
    /// The entry of `key`, which counts as a use of it.
    fn get(&mut self, key: KeyRef<'_>) -> Option<&Arc<Entry>>;

    /// The entry of `key`.
    fn peek(&self, key: KeyRef<'_>) -> Option<&Arc<Entry>>;

    /// Puts `entry` in, in place of another of its key or of those who have to go; gives it back when the cache is full
    /// and this shard has nothing to give up.
    fn insert(&mut self, entry: Arc<Entry>, gone: &mut Gone) -> Result<(), Arc<Entry>>;

    /// Lets the next one go that has to.
    fn evict(&mut self, gone: &mut Gone) -> bool;

    /// Takes an entry out.
    fn remove(&mut self, key: KeyRef<'_>) -> Option<Arc<Entry>>;

    /// Takes out all that are not to be kept.
    fn retain(&mut self, keep: &mut dyn FnMut(&Entry) -> bool) -> Vec<Arc<Entry>>;

    /// How many entries stand here.
    #[cfg(test)]
    fn len(&self) -> usize;
}

/// Entries that left a shard. They are dropped after its lock is released, because values are the user's.
#[derive(Default)]
pub(super) struct Gone {
    /// The usual one, and whether it had to go for want of room.
    one: Option<(Arc<Entry>, bool)>,
    more: Vec<(Arc<Entry>, bool)>,
}

impl Gone {
    pub(super) fn replace(&mut self, entry: Arc<Entry>) {
        self.put(entry, false);
    }

    pub(super) fn evict(&mut self, entry: Arc<Entry>) {
        self.put(entry, true);
    }

    fn put(&mut self, entry: Arc<Entry>, evicted: bool) {
        entry.bury();
        match self.one {
            None => self.one = Some((entry, evicted)),
            Some(_) => self.more.push((entry, evicted)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.one.iter().chain(&self.more).map(|(entry, _)| entry)
    }

    /// Those that had to go for want of room.
    pub(super) fn evicted(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.one.iter().chain(&self.more).filter(|(_, evicted)| *evicted).map(|(entry, _)| entry)
    }
}

/// Room in the cache, shared by its shards: each entry has a place, and no shard owns more of them than it uses.
#[derive(Debug)]
pub(super) struct Room {
    used: AtomicUsize,
    entries: usize,
    weight: AtomicUsize,
    bytes: Option<usize>,
}

impl Room {
    pub(super) fn new(entries: usize, bytes: Option<usize>) -> Self {
        Room { used: AtomicUsize::new(0), entries, weight: AtomicUsize::new(0), bytes }
    }

    /// Takes a place if one is free.
    pub(super) fn take(&self) -> bool {
        let more = |used| (used < self.entries).then_some(used + 1);
        self.used.load(Ordering::Relaxed) < self.entries
            && self.used.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok()
    }

    /// Books what a store that keeps the bounds itself gained or lost.
    pub(super) fn change(&self, places: isize, weight: isize) {
        if places != 0 {
            self.used.fetch_add(places as usize, Ordering::AcqRel);
        }
        if weight != 0 {
            self.weight.fetch_add(weight as usize, Ordering::AcqRel);
        }
    }

    pub(super) fn give_back(&self) {
        self.used.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn weigh(&self, entry: &Entry) {
        if entry.bytes() != 0 {
            self.weight.fetch_add(entry.bytes(), Ordering::AcqRel);
        }
    }

    pub(super) fn unweigh(&self, entry: &Entry) {
        if entry.bytes() != 0 {
            self.weight.fetch_sub(entry.bytes(), Ordering::AcqRel);
        }
    }

    pub(super) fn is_overweight(&self) -> bool {
        self.bytes.is_some_and(|bytes| self.weight.load(Ordering::Acquire) > bytes)
    }

    /// Whether an entry of this weight could ever be kept.
    pub(super) fn holds(&self, bytes: usize) -> bool {
        self.bytes.is_none_or(|budget| bytes <= budget)
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    pub(super) fn weight(&self) -> usize {
        self.weight.load(Ordering::Acquire)
    }
}

/// An entry as a map's key: it has its key in it.
#[derive(Clone)]
pub(super) struct Stored(pub(super) Arc<Entry>);

impl Keyed for Stored {
    fn key(&self) -> KeyRef<'_> {
        self.0.key().as_ref()
    }
}

impl<'a> Borrow<dyn Keyed + 'a> for Stored {
    fn borrow(&self) -> &(dyn Keyed + 'a) {
        self
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Stored {}

impl Hash for Stored {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.key().hash);
    }
}
