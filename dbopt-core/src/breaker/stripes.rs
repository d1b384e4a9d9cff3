//! A counter that many threads add to at once.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads that have a cell of their own; all others share one.
const OWNERS: usize = 64;

/// The cell that is shared, and what a thread without a number of its own has for one.
const SHARED: usize = OWNERS;

/// A value on cache lines of its own; processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Alone<T>(pub(super) T);

/// A count that each thread adds to in a cell of its own: a plain addition, because nobody else writes there.
#[derive(Debug)]
pub(super) struct Stripes(Box<[Alone<AtomicU64>; OWNERS + 1]>);

impl Default for Stripes {
    fn default() -> Self {
        Stripes(Box::new([const { Alone(AtomicU64::new(0)) }; OWNERS + 1]))
    }
}

impl Stripes {
    #[inline]
    pub(super) fn add_one(&self) {
        let number = OWN.get();
        match self.0.get(number) {
            Some(Alone(cell)) if number != SHARED => {
                cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            }
            _ => self.add_one_otherwise(),
        }
    }

    /// For a thread that has no cell, or none yet.
    #[cold]
    fn add_one_otherwise(&self) {
        if OWN.get() == UNKNOWN {
            OWN.set(NUMBER.try_with(|number| number.0).unwrap_or(SHARED));
            return self.add_one();
        }
        self.0[SHARED].0.fetch_add(1, Ordering::Relaxed);
    }

    /// What all threads have added so far.
    pub(super) fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, cell| sum.wrapping_add(cell.0.load(Ordering::Relaxed)))
    }
}

/// The numbers that threads have, a bit for each.
static TAKEN: AtomicU64 = AtomicU64::new(0);

const UNKNOWN: usize = usize::MAX;

thread_local! {
    /// This thread's number, to be had at any time.
    static OWN: Cell<usize> = const { Cell::new(UNKNOWN) };
    /// The same; gives it back when the thread ends.
    static NUMBER: Number = Number::take();
}

struct Number(usize);

impl Number {
    fn take() -> Self {
        let free = |taken: u64| (taken != u64::MAX).then_some(taken | (taken + 1));
        // What the number's last owner added is seen before this one adds to it.
        match TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, free) {
            Ok(taken) => Number(taken.trailing_ones() as usize),
            Err(_) => Number(SHARED),
        }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        OWN.set(SHARED);
        if self.0 != SHARED {
            TAKEN.fetch_and(!(1 << self.0), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More at once than there are cells, and more after each other than there are numbers.
    #[test]
    fn nothing_that_any_thread_adds_is_lost() {
        let stripes = Stripes::default();
        for round in 1..=20 {
            std::thread::scope(|scope| {
                for _ in 0..OWNERS + 6 {
                    scope.spawn(|| (0..100).for_each(|_| stripes.add_one()));
                }
            });
            assert_eq!(stripes.sum(), round * (OWNERS as u64 + 6) * 100);
        }
    }

    #[test]
    fn a_number_is_owned_by_one_thread_at_a_time_and_comes_back() {
        let together = std::sync::Barrier::new(OWNERS / 4);
        for _ in 0..20 {
            let numbers: Vec<usize> = std::thread::scope(|scope| {
                let own = || {
                    let number = NUMBER.with(|number| number.0);
                    together.wait();
                    number
                };
                let running: Vec<_> = (0..OWNERS / 4).map(|_| scope.spawn(own)).collect();
                running.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let mut owned: Vec<usize> = numbers.into_iter().filter(|number| *number != SHARED).collect();
            assert!(!owned.is_empty(), "numbers do not come back");
            owned.sort_unstable();
            assert!(owned.windows(2).all(|pair| pair[0] != pair[1]), "{owned:?}");
        }
    }
}
