//! A counter that many threads add to at once.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::owner::{self, Alone, OWNERS, SHARED};

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
        let number = owner::number();
        match self.0.get(number) {
            Some(Alone(cell)) if number != SHARED => {
                cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            }
            _ => drop(self.0[SHARED].0.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// What all threads have added so far.
    pub(super) fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, cell| sum.wrapping_add(cell.0.load(Ordering::Relaxed)))
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
}
