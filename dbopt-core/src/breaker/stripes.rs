//! A counter that many threads add to at once.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads beyond it share cells.
const CELLS: usize = 16;

/// A value on cache lines of its own; processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Alone<T>(pub(super) T);

/// A count that each thread adds to in a cell of its own.
#[derive(Debug, Default)]
pub(super) struct Stripes([Alone<AtomicU64>; CELLS]);

impl Stripes {
    #[inline]
    pub(super) fn add_one(&self) {
        // The index is below the length, which the compiler sees.
        self.0[cell()].0.fetch_add(1, Ordering::Relaxed);
    }

    /// What all threads have added so far.
    pub(super) fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, cell| sum.wrapping_add(cell.0.load(Ordering::Relaxed)))
    }
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static CELL: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// This thread's cell, the same for its life.
#[inline]
fn cell() -> usize {
    let known = CELL.get();
    let number = if known == usize::MAX { first_time() } else { known };
    number % CELLS
}

#[cold]
fn first_time() -> usize {
    let number = THREADS.fetch_add(1, Ordering::Relaxed) % CELLS;
    CELL.set(number);
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_any_thread_adds_is_lost() {
        let stripes = Stripes::default();
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| (0..1000).for_each(|_| stripes.add_one()));
            }
        });
        assert_eq!(stripes.sum(), 40_000);
    }
}
