//! The table each thread has in front of the shards. A hit in it writes nothing that another thread reads, which is what
//! lets threads answer from memory without slowing each other down.
//!
//! A slot is no copy of the truth: its entry says itself whether it left the cache and when it expires, and the fences
//! say whether it holds.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};

use super::counts::ThreadCounts;
use super::entry::Entry;
use super::store::Room;
use crate::cache::fence::Fences;
use crate::key::KeyRef;

/// Keys that may stand in the same place.
const WAYS: usize = 4;
const MAX_SETS: usize = 512;
/// After so many lookups that the table could not answer it is time to look at the clock.
const EXACT: u32 = 16;

thread_local! {
    /// The tables of this thread, one for each cache it uses; the one used last stands first.
    static FRONTS: RefCell<Vec<Front>> = const { RefCell::new(Vec::new()) };
}

/// A thread's table for one cache.
pub(super) struct Front {
    cache: u64,
    sets: Box<[Set]>,
    pub(super) counts: Arc<ThreadCounts>,
    /// The sweep of the cache that this table has seen.
    pub(super) swept: u64,
    /// Lookups that this table could not answer.
    asked: u32,
    /// To notice that the cache is gone.
    room: Weak<Room>,
}

/// As large as two cache lines.
#[derive(Default)]
#[repr(align(128))]
struct Set([Slot; WAYS]);

/// An entry, and what this thread knows of it.
#[derive(Default)]
pub(super) struct Slot {
    hash: u64,
    /// [`Fences::changes`] when the entry's snapshot was last seen to hold.
    verified: Cell<u64>,
    /// The shard's age when it was last told that the entry is used.
    pub(super) told: Cell<u64>,
    entry: Option<Arc<Entry>>,
}

impl Slot {
    /// Whether the entry's tags stand as they did before it was read.
    #[inline]
    pub(super) fn holds(&self, entry: &Entry, fences: &Fences) -> bool {
        let changes = fences.changes();
        self.verified.get() == changes || {
            let holds = entry.snapshot().holds(fences);
            if holds {
                self.verified.set(changes);
            }
            holds
        }
    }
}

impl Front {
    fn new(cache: u64, entries: usize, counts: Arc<ThreadCounts>, room: Weak<Room>) -> Self {
        // Twice as many slots as entries leave few that are in each other's way.
        let sets = (2 * entries.min(MAX_SETS * WAYS) / WAYS).next_power_of_two().clamp(16, MAX_SETS);
        let sets = (0..sets).map(|_| Set::default()).collect();
        Front { cache, sets, counts, swept: 0, asked: 0, room }
    }

    /// The entry of `key`, if it stands here.
    #[inline(always)]
    pub(super) fn find(&self, key: KeyRef<'_>) -> Option<(&Slot, &Arc<Entry>)> {
        let slot = self.sets[self.place(key.hash)].0.iter().find(|slot| slot.hash == key.hash)?;
        let entry = slot.entry.as_ref()?;
        (entry.key().as_ref() == key).then_some((slot, entry))
    }

    /// Whether it is time to look at the clock.
    pub(super) fn is_time(&mut self) -> bool {
        self.asked = self.asked.wrapping_add(1);
        self.asked.is_multiple_of(EXACT)
    }

    /// Puts an entry that was just used in; gives back the one it takes the place of.
    pub(super) fn put(&mut self, entry: Arc<Entry>, told: u64) -> Option<Arc<Entry>> {
        let hash = entry.key().as_ref().hash;
        let place = self.place(hash);
        let set = &mut self.sets[place].0;
        // The one that was put in first makes room, unless this key has a slot already.
        let last = set.iter().position(|slot| slot.hash == hash).unwrap_or(WAYS - 1);
        set[..=last].rotate_right(1);
        let new = Slot { hash, verified: Cell::new(u64::MAX), told: Cell::new(told), entry: Some(entry) };
        std::mem::replace(&mut set[0], new).entry
    }

    /// Takes out what left the cache.
    pub(super) fn sweep(&mut self, out: &mut Vec<Arc<Entry>>) {
        for slot in self.sets.iter_mut().flat_map(|set| &mut set.0) {
            if slot.entry.as_ref().is_some_and(|entry| entry.is_dead()) {
                out.extend(slot.entry.take());
            }
        }
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        (hash >> 20) as usize & (self.sets.len() - 1)
    }
}

/// Looks into this thread's table of `cache`, if it stands first.
#[inline(always)]
pub(super) fn look<R>(cache: u64, look: impl FnOnce(&Front) -> Option<R>) -> Option<R> {
    let first = |fronts: &RefCell<Vec<Front>>| {
        // Borrowed to be changed: a value's own Clone or Drop has come here again. The shards answer then.
        let fronts = fronts.try_borrow().ok()?;
        let front = fronts.first().filter(|front| front.cache == cache)?;
        look(front)
    };
    FRONTS.try_with(first).ok().flatten()
}

/// Changes this thread's table of `cache`, which `make` gives what it needs for a new one. None when the thread is
/// ending, or is inside a lookup.
pub(super) fn change<R>(
    cache: u64,
    make: impl FnOnce() -> (usize, Arc<ThreadCounts>, Weak<Room>),
    change: impl FnOnce(&mut Front) -> R,
) -> Option<R> {
    let mut abandoned = Vec::new();
    let done = FRONTS.try_with(|fronts| {
        let mut fronts = fronts.try_borrow_mut().ok()?;
        if fronts.first().is_none_or(|front| front.cache != cache) {
            // Rare: the first lookup of a thread, or one that uses several caches in turn.
            match fronts.iter().position(|front| front.cache == cache) {
                Some(place) => fronts.swap(0, place),
                None => {
                    abandoned.extend(fronts.extract_if(.., |front| front.room.strong_count() == 0));
                    let (entries, counts, room) = make();
                    fronts.insert(0, Front::new(cache, entries, counts, room));
                }
            }
        }
        fronts.first_mut().map(change)
    });
    done.ok().flatten()
}
