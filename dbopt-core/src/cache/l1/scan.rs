//! Scan resistant: `quick_cache`'s store. Its bound is its own, so small caches are one shard and hold exactly what they may.

use std::sync::Arc;

use quick_cache::unsync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use super::entry::Entry;
use super::store::{Gone, Room, Store, Stored};
use crate::key::{KeyRef, Keyed, PassThrough};

/// An entry takes at least this much of the weight that stands for all entries; the byte budget is scaled to the same.
const UNIT: u64 = 1 << 16;

pub(super) struct Scan {
    entries: Cache<Stored, Arc<Entry>, Share, PassThrough, Leavers>,
    room: Arc<Room>,
}

/// What share of the cache an entry takes: its place, or its bytes where they are the larger share.
#[derive(Clone)]
struct Share {
    per_byte: f64,
}

impl Weighter<Stored, Arc<Entry>> for Share {
    fn weight(&self, _: &Stored, entry: &Arc<Entry>) -> u64 {
        UNIT.max((entry.bytes() as f64 * self.per_byte).ceil() as u64)
    }
}

struct Leavers;

impl Lifecycle<Stored, Arc<Entry>> for Leavers {
    type RequestState = Vec<Arc<Entry>>;

    fn on_evict(&self, left: &mut Self::RequestState, _: Stored, entry: Arc<Entry>) {
        left.push(entry);
    }
}

impl Scan {
    /// A store for so many entries and bytes; None if that makes no sense to it.
    pub(super) fn new(entries: usize, bytes: Option<usize>, room: Arc<Room>) -> Option<Self> {
        let weight = entries as u64 * UNIT;
        let mut options = OptionsBuilder::new();
        let options = options.estimated_items_capacity(entries).weight_capacity(weight);
        if entries == 1 {
            // The usual share for what is used often would have no room for the only entry.
            options.hot_allocation(1.0);
        }
        let options = options.build().ok()?;
        let per_byte = bytes.map_or(0.0, |bytes| weight as f64 / bytes as f64);
        Some(Scan { entries: Cache::with_options(options, Share { per_byte }, PassThrough::default(), Leavers), room })
    }

    fn leave(&self, entry: &Entry) {
        self.room.unweigh(entry);
        self.room.give_back();
    }
}

impl Store for Scan {
    fn get(&mut self, key: KeyRef<'_>) -> Option<&Arc<Entry>> {
        self.entries.get(&key as &dyn Keyed)
    }

    fn peek(&self, key: KeyRef<'_>) -> Option<&Arc<Entry>> {
        self.entries.peek(&key as &dyn Keyed)
    }

    fn insert(&mut self, entry: Arc<Entry>, gone: &mut Gone) -> Result<(), Arc<Entry>> {
        let replaced = self.peek(entry.key().as_ref()).cloned();
        let mut left = Vec::new();
        let (mut places, mut weight) = (1, entry.bytes() as isize);
        self.entries.insert_with_lifecycle(Stored(entry.clone()), entry, &mut left);
        for victim in left {
            (places, weight) = (places - 1, weight - victim.bytes() as isize);
            gone.evict(victim);
        }
        if let Some(old) = replaced.filter(|old| !old.is_dead()) {
            (places, weight) = (places - 1, weight - old.bytes() as isize);
            gone.replace(old);
        }
        // At once, so that nobody reads of more than there ever were.
        self.room.change(places, weight);
        Ok(())
    }

    fn evict(&mut self, _: &mut Gone) -> bool {
        // Its weights keep the byte budget.
        false
    }

    fn remove(&mut self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        let (_, removed) = self.entries.remove(&key as &dyn Keyed)?;
        self.leave(&removed);
        Some(removed)
    }

    fn retain(&mut self, keep: &mut dyn FnMut(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let out: Vec<Arc<Entry>> = self.entries.iter().map(|(_, entry)| entry).filter(|e| !keep(e)).cloned().collect();
        out.into_iter().filter_map(|entry| self.remove(entry.key().as_ref())).collect()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }
}
