//! A histogram that many threads write to at once.

use std::sync::OnceLock;
use std::time::Duration;

use super::histogram::{Histogram, HistogramCounts};
use crate::owner::{self, Alone, OWNERS, SHARED};

/// A histogram in parts, one for each thread that has written to it: there, recording is a search and two plain additions.
#[derive(Debug)]
pub(super) struct Striped([OnceLock<Box<Alone<Histogram>>>; OWNERS + 1]);

impl Default for Striped {
    fn default() -> Self {
        Striped([const { OnceLock::new() }; OWNERS + 1])
    }
}

impl Striped {
    /// Counts one duration.
    #[inline]
    pub(super) fn record(&self, duration: Duration) {
        let number = owner::number();
        match self.0.get(number).and_then(OnceLock::get) {
            Some(part) if number != SHARED => part.0.record_alone(duration),
            _ => self.record_otherwise(number, duration),
        }
    }

    /// For a thread that has no part, or none yet.
    #[cold]
    fn record_otherwise(&self, number: usize, duration: Duration) {
        let part = self.0[number.min(SHARED)].get_or_init(Box::default);
        part.0.record(duration);
    }

    /// What all parts hold now.
    pub(super) fn counts(&self) -> HistogramCounts {
        let mut sum = HistogramCounts::default();
        for part in self.0.iter().filter_map(OnceLock::get) {
            sum.add(&part.0.counts());
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More threads at once than there are parts, and more after each other.
    #[test]
    fn nothing_that_any_thread_records_is_lost() {
        let histogram = Striped::default();
        for round in 1..=5 {
            std::thread::scope(|scope| {
                for n in 0..OWNERS as u64 + 6 {
                    let record = move |histogram: &Striped| histogram.record(Duration::from_millis(n));
                    let histogram = &histogram;
                    scope.spawn(move || (0..100).for_each(|_| record(histogram)));
                }
            });
            let threads = OWNERS as u64 + 6;
            let counts = histogram.counts();
            assert_eq!(counts.count(), round * threads * 100);
            let sum = (round * 100 * threads * (threads - 1) / 2) as f64 / 1e3;
            assert!((counts.sum - sum).abs() < 1e-6, "{} of {sum}", counts.sum);
        }
    }
}
