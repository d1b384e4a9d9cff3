//! The cells of many callers in a bounded space. Callers who find no place share one: that can refuse them too early, and never
//! admits too much.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::cell::{Cell, Limit};

/// Callers that may stand in the same place.
const WAYS: usize = 7;

/// A place. Each caller's tag stands beside its cell, and what is in use comes first, so that one line of the processor's cache
/// is usually all that a check needs.
#[derive(Default)]
struct Set {
    ways: [Way; WAYS],
    shared: Cell,
}

/// One caller's part of a place.
#[derive(Default)]
struct Way {
    /// 0: free.
    tag: u64,
    cell: Cell,
}

/// A set that begins where a line of the processor's cache does.
#[derive(Default)]
#[repr(align(64))]
struct Aligned(Mutex<Set>);

/// The cells of one limit.
pub(super) struct Table {
    sets: Box<[OnceLock<Box<Aligned>>]>,
    tracked: AtomicUsize,
}

/// A cell, and whether it is this caller's own.
pub(super) struct Found<'a> {
    pub(super) cell: &'a mut Cell,
    pub(super) shared: bool,
}

impl Table {
    /// Room for about `callers`.
    pub(super) fn new(callers: usize) -> Self {
        // Three in a place on the average: one in a hundred places is full then.
        let sets = (callers / 3).max(1);
        Table { sets: (0..sets).map(|_| OnceLock::new()).collect(), tracked: AtomicUsize::new(0) }
    }

    #[inline]
    fn place(&self, tag: u64) -> &Mutex<Set> {
        let place = ((tag >> 32) * self.sets.len() as u64) >> 32;
        &self.sets[place as usize].get_or_init(Box::default).0
    }

    /// Uses the cell of `tag`. `limit` tells who is idle, where a place has to be found.
    #[inline]
    pub(super) fn with<R>(&self, tag: u64, limit: &Limit, now: u64, use_it: impl FnOnce(Found<'_>) -> R) -> R {
        let tag = tag.max(1);
        let mut set = self.place(tag).lock();
        let set = &mut *set;
        let found = set.ways.iter().position(|way| way.tag == tag);
        let own = match found {
            Some(way) => Some(way),
            None => self.find_place(set, tag, limit, now),
        };
        match own {
            Some(way) => use_it(Found { cell: &mut set.ways[way].cell, shared: false }),
            None => use_it(Found { cell: &mut set.shared, shared: true }),
        }
    }

    #[cold]
    fn find_place(&self, set: &mut Set, tag: u64, limit: &Limit, now: u64) -> Option<usize> {
        let free = set.ways.iter().position(|way| way.tag == 0);
        let way = match free {
            Some(way) => {
                self.tracked.fetch_add(1, Ordering::Relaxed);
                way
            }
            None => set.ways.iter_mut().position(|Way { cell, .. }| {
                let own = cell.limit.clone();
                cell.is_idle(own.as_deref().unwrap_or(limit), now)
            })?,
        };
        set.ways[way] = Way { tag, cell: Cell::default() };
        // A part of what was taken of the shared one may have been this caller's.
        let shared = set.shared.used(limit, now);
        if shared > 0 {
            set.ways[way].cell.force(limit, now, shared);
        }
        Some(way)
    }

    /// How many callers have a cell.
    pub(super) fn tracked(&self) -> usize {
        self.tracked.load(Ordering::Relaxed)
    }

    /// Looks at every cell, with its tag; at the shared ones with none.
    pub(super) fn each(&self, mut look: impl FnMut(Option<u64>, &mut Cell)) {
        for set in self.sets.iter().filter_map(OnceLock::get) {
            let mut set = set.0.lock();
            let Set { ways, shared } = &mut *set;
            for Way { tag, cell } in ways.iter_mut().filter(|way| way.tag != 0) {
                look(Some(*tag), cell);
            }
            look(None, shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const START: u64 = 1 << 40;

    fn limit() -> Limit {
        Limit::new("3/s".parse().unwrap(), 20, 0, 0, 0, 0)
    }

    fn take(table: &Table, limit: &Limit, tag: u64, now: u64) -> bool {
        table.with(tag, limit, now, |found| found.cell.take(limit, now, 1).is_ok())
    }

    proptest! {
        /// However many callers there are: nobody exceeds their limit, and memory stays what it is.
        #[test]
        fn many_callers_never_admit_one_of_them_too_often(calls in proptest::collection::vec((0u64..60, 0u64..30), 1..2000)) {
            let (table, limit) = (Table::new(6), limit());
            let (mut now, mut admitted) = (START, HashMap::<u64, Vec<u64>>::new());
            for (caller, pause) in calls {
                now += pause;
                let tag = (caller << 33) | (caller + 1);
                if take(&table, &limit, tag, now) {
                    let log = admitted.entry(tag).or_default();
                    log.push(now);
                    let inside = log.iter().filter(|at| **at + 1000 > now).count();
                    prop_assert!(inside <= 3, "{inside}");
                }
            }
            prop_assert!(table.tracked() <= 2 * WAYS);
        }
    }

    #[test]
    fn a_caller_who_was_idle_for_a_window_makes_room() {
        let (table, limit) = (Table::new(3), limit());
        for tag in 1..=7 {
            assert!(take(&table, &limit, tag, START));
        }
        let shared = |tag, now| table.with(tag, &limit, now, |found| found.shared);
        assert!(shared(100, START + 500));
        assert!(!shared(100, START + 1100));
        assert!(!shared(7, START + 1100), "who is there stays");
    }
}
