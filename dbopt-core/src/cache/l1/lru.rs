//! Least recently used: the `cached` crate's store, without a bound of its own. The bound is the [`Room`] of all shards.

use std::sync::Arc;

use cached::{Cached, CachedPeek, LruCache};
use parking_lot::Mutex;

use super::entry::Entry;
use super::store::{Gone, Room, Store, Stored};
use crate::key::{KeyRef, Keyed, PassThrough};

pub(super) struct Lru {
    entries: LruCache<Stored, Arc<Entry>, PassThrough>,
    /// Where the store puts what it lets go of.
    let_go: Arc<Mutex<Vec<Arc<Entry>>>>,
    room: Arc<Room>,
}

impl Lru {
    /// A store that expects so many entries; None if there is no memory for them.
    pub(super) fn new(expected: usize, room: Arc<Room>) -> Option<Self> {
        let let_go = Arc::<Mutex<Vec<Arc<Entry>>>>::default();
        let also = let_go.clone();
        let entries = LruCache::builder().max_size(expected.max(1)).hasher(PassThrough::default());
        let entries = entries.on_evict(move |_: &Stored, entry: &Arc<Entry>| also.lock().push(entry.clone()));
        let mut entries = entries.build().ok()?;
        entries.set_max_size(usize::MAX);
        Some(Lru { entries, let_go, room })
    }

    /// Takes out the one that was not used the longest; its place stays taken.
    fn pop(&mut self) -> Option<Arc<Entry>> {
        let len = self.entries.cache_size();
        match len {
            0 => return None,
            // The store's bound cannot be 0.
            1 => self.entries.retain(|_, _| false),
            _ => self.entries.set_max_size(len - 1).unwrap_or_default(),
        };
        self.entries.set_max_size(usize::MAX);
        self.let_go.lock().pop()
    }

    fn leave(&self, entry: &Entry) {
        self.room.unweigh(entry);
        self.room.give_back();
    }
}

impl Store for Lru {
    fn get(&mut self, key: KeyRef<'_>) -> Option<&Arc<Entry>> {
        self.entries.cache_get(&key as &dyn Keyed)
    }

    fn peek(&self, key: KeyRef<'_>) -> Option<&Arc<Entry>> {
        self.entries.cache_peek(&key as &dyn Keyed)
    }

    fn insert(&mut self, entry: Arc<Entry>, gone: &mut Gone) -> Result<(), Arc<Entry>> {
        if self.peek(entry.key().as_ref()).is_none() && !self.room.take() {
            let Some(victim) = self.pop() else { return Err(entry) };
            self.room.unweigh(&victim);
            gone.evict(victim);
        }
        self.room.weigh(&entry);
        if let Some(old) = self.entries.cache_set(Stored(entry.clone()), entry) {
            self.room.unweigh(&old);
            gone.replace(old);
        }
        Ok(())
    }

    fn evict(&mut self, gone: &mut Gone) -> bool {
        let Some(victim) = self.pop() else { return false };
        self.leave(&victim);
        gone.evict(victim);
        true
    }

    fn remove(&mut self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        let removed = self.entries.cache_remove(&key as &dyn Keyed)?;
        self.let_go.lock().clear();
        self.leave(&removed);
        Some(removed)
    }

    fn retain(&mut self, keep: &mut dyn FnMut(&Entry) -> bool) -> Vec<Arc<Entry>> {
        self.entries.retain(|_, entry| keep(entry));
        let removed = std::mem::take(&mut *self.let_go.lock());
        removed.iter().for_each(|entry| self.leave(entry));
        removed
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.cache_size()
    }
}
