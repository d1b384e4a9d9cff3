//! Counters by method, for what happens seldom enough for a lock.

use parking_lot::Mutex;

/// `N` counters of each method.
#[derive(Debug)]
pub(super) struct Tally<const N: usize>(Mutex<Vec<[u64; N]>>);

impl<const N: usize> Default for Tally<N> {
    fn default() -> Self {
        Tally(Mutex::default())
    }
}

impl<const N: usize> Tally<N> {
    /// Counts one of the method with this id.
    pub(super) fn one(&self, method: usize, which: usize) {
        let mut counts = self.0.lock();
        if counts.len() <= method {
            counts.resize(method + 1, [0; N]);
        }
        counts[method][which] += 1;
    }

    /// The counters by the method's id; methods without any are left out.
    pub(super) fn by_method(&self) -> Vec<(usize, [u64; N])> {
        self.0.lock().iter().copied().enumerate().filter(|(_, counts)| *counts != [0; N]).collect()
    }

    /// The counters of all methods together.
    pub(super) fn all(&self) -> [u64; N] {
        let mut sum = [0; N];
        for counts in self.0.lock().iter() {
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        sum
    }
}
