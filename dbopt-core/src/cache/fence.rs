//! Fences: what keeps a value that was read before an invalidation from being stored, or served, after it.
//!
//! Each tag belongs to one of 65,536 generations. Whoever fills the cache takes a [`Snapshot`] of its tags' generations
//! *before* it reads, and the entry is good only while they stay as they were. So it does not matter in which order the
//! reader and the invalidation finish: an entry from before the invalidation never holds after it. Two tags may share a
//! generation; that costs a reload now and then and is never wrong.
//!
//! The order in which a filler works: [`Fences::snapshot`], then [`Fences::required`], then read from a node that has
//! replayed that position, then store.

use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;
use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::position::Position;

const GENERATIONS: usize = 1 << 16;
/// Positions are needed on misses and invalidations only, so fewer will do.
const POSITIONS: usize = 1 << 10;
/// So many tags of a snapshot need no memory of their own.
const INLINE: usize = 4;

static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// The generations of all tags of one cache.
pub struct Fences {
    generations: Box<[AtomicU64]>,
    /// Grows when everything is invalidated at once.
    everything: AtomicU64,
    /// Grows after each change above: while it stands still, what held still holds.
    changes: AtomicU64,
    /// The newest known position of an invalidation, by tag. Its lock also puts invalidations of a tag in an order.
    positions: Box<[Mutex<Option<Position>>]>,
    /// The same for all tags; held for writing while everything is invalidated.
    position_of_all: RwLock<Option<Position>>,
}

impl Default for Fences {
    fn default() -> Self {
        Fences::new()
    }
}

impl std::fmt::Debug for Fences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fences").field("changes", &self.changes).finish_non_exhaustive()
    }
}

impl Fences {
    /// Fences that nothing was invalidated behind yet. Takes half a MiB.
    pub fn new() -> Self {
        Fences {
            generations: (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect(),
            everything: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            positions: (0..POSITIONS).map(|_| Mutex::new(None)).collect(),
            position_of_all: RwLock::new(None),
        }
    }

    /// How these tags stand now. Taken before the read that fills an entry begins.
    pub fn snapshot<T: AsRef<str>>(&self, tags: &[T]) -> Snapshot {
        self.snapshot_of(tags.iter().map(|tag| stripe(tag.as_ref())))
    }

    fn snapshot_of(&self, stripes: impl Iterator<Item = u32>) -> Snapshot {
        let mut taken = Snapshot { everything: self.everything.load(Ordering::Acquire), ..Snapshot::default() };
        for stripe in stripes {
            taken.push(stripe, self.generation(stripe).load(Ordering::Acquire));
        }
        taken
    }

    /// Invalidates everything with one of these tags. `position` is where the write stands in the log, where that is known.
    ///
    /// When it returns, no entry filled from an earlier snapshot holds any more.
    pub fn invalidate<T: AsRef<str>>(&self, tags: &[T], position: Option<Position>) {
        let _not_all_at_once = self.position_of_all.read();
        let stripes = distinct(tags);
        self.advance(&stripes, &mut self.lock(&stripes), position);
    }

    /// Invalidates every entry, whatever its tags: a clear, or a pattern that fills under way may match.
    pub fn invalidate_all(&self, position: Option<Position>) {
        let mut newest = self.position_of_all.write();
        raise(&mut newest, position);
        self.everything.fetch_add(1, Ordering::AcqRel);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// The position that a node must have replayed to fill an entry with these tags; None when any node will do.
    ///
    /// Asked after [`Fences::snapshot`]: an invalidation in between makes the fill useless, never wrong.
    pub fn required<T: AsRef<str>>(&self, tags: &[T]) -> Option<Position> {
        let mut newest = *self.position_of_all.read();
        for tag in tags {
            raise(&mut newest, *self.positions[place(stripe(tag.as_ref()))].lock());
        }
        newest
    }

    /// Invalidates the tags of a write that was committed, and gives the snapshot to store its new value under; None when
    /// somebody else may have written later, so that the value must not be stored.
    ///
    /// `began` is a snapshot of the same tags from before the write began (and after its own invalidation before commit,
    /// if it made one). `between` are a position from before the write and the position of its commit. The value may be
    /// stored if nobody else invalidated a tag since `began` and the first position covers those of all who ever did. That
    /// is decided and done at once: of two writers, in either order, the older value never stays.
    pub fn invalidate_for_write<T: AsRef<str>>(
        &self,
        tags: &[T],
        began: &Snapshot,
        between: Option<(Position, Position)>,
    ) -> Option<Snapshot> {
        let _not_all_at_once = self.position_of_all.read();
        let stripes = distinct(tags);
        let mut positions = self.lock(&stripes);
        // Not every invalidation has a position, and not every position arrives in its order: both must agree.
        let undisturbed = began.holds(self);
        let latest = between.is_none_or(|(lower, _)| {
            positions.iter().all(|(_, newest)| newest.is_none_or(|other| lower.covers(other)))
        });
        self.advance(&stripes, &mut positions, between.map(|(_, upper)| upper));
        (undisturbed && latest).then(|| self.snapshot_of(stripes.iter().copied()))
    }

    /// Grows with every invalidation. What held at one value holds as long as it stays.
    #[inline]
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn generation(&self, stripe: u32) -> &AtomicU64 {
        &self.generations[stripe as usize % GENERATIONS]
    }

    /// The positions of these stripes, locked in an order that all follow.
    fn lock(&self, stripes: &[u32]) -> Vec<(usize, MutexGuard<'_, Option<Position>>)> {
        let mut places: Vec<usize> = stripes.iter().map(|&stripe| place(stripe)).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|place| (place, self.positions[place].lock())).collect()
    }

    /// Positions first, then generations, then the count of changes: whoever sees one sees those before it.
    fn advance(
        &self,
        stripes: &[u32],
        positions: &mut [(usize, MutexGuard<'_, Option<Position>>)],
        position: Option<Position>,
    ) {
        for (_, newest) in positions {
            raise(newest, position);
        }
        for &stripe in stripes {
            self.generation(stripe).fetch_add(1, Ordering::AcqRel);
        }
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}

/// The generations of some tags at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    everything: u64,
    len: u8,
    stripes: [u32; INLINE],
    generations: [u64; INLINE],
    /// The rest, where there are so many.
    more: Vec<(u32, u64)>,
}

impl Snapshot {
    fn push(&mut self, stripe: u32, generation: u64) {
        let at = usize::from(self.len);
        if at == INLINE {
            self.more.push((stripe, generation));
        } else {
            (self.stripes[at], self.generations[at]) = (stripe, generation);
            self.len += 1;
        }
    }

    /// Whether none of the tags was invalidated since.
    #[inline]
    pub fn holds(&self, fences: &Fences) -> bool {
        let mut here = self.stripes.iter().zip(&self.generations).take(usize::from(self.len));
        let stands = |stripe: u32, then: u64| fences.generation(stripe).load(Ordering::Acquire) == then;
        self.everything == fences.everything.load(Ordering::Acquire)
            && here.all(|(&stripe, &then)| stands(stripe, then))
            && self.more.iter().all(|&(stripe, then)| stands(stripe, then))
    }
}

fn stripe(tag: &str) -> u32 {
    let mut hasher = HASHES.build_hasher();
    hasher.write(tag.as_bytes());
    hasher.finish() as u32 % GENERATIONS as u32
}

fn place(stripe: u32) -> usize {
    stripe as usize % POSITIONS
}

fn distinct<T: AsRef<str>>(tags: &[T]) -> Vec<u32> {
    let mut stripes: Vec<u32> = tags.iter().map(|tag| stripe(tag.as_ref())).collect();
    stripes.sort_unstable();
    stripes.dedup();
    stripes
}

fn raise(newest: &mut Option<Position>, position: Option<Position>) {
    *newest = Position::later(*newest, position);
}

#[cfg(test)]
mod tests;
