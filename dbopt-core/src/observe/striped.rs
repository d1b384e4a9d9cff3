//! A histogram that many threads write to at once.

use std::time::Duration;

use super::histogram::{Histogram, HistogramCounts};
use crate::owner::{self, OWNERS, Parts, SHARED};

/// A histogram in parts, one for each thread that has written to it: there, recording is a search and two plain additions.
#[derive(Debug, Default)]
pub(super) struct Striped(Parts<Histogram, { OWNERS + 1 }>);

impl Striped {
    /// Counts one duration.
    #[inline]
    pub(super) fn record(&self, duration: Duration) {
        let number = owner::number();
        let part = self.0.at(number);
        if number == SHARED {
            part.record(duration);
        } else {
            part.record_alone(duration);
        }
    }

    /// What all parts hold now.
    pub(super) fn counts(&self) -> HistogramCounts {
        let mut sum = HistogramCounts::default();
        for part in self.0.iter() {
            sum.add(&part.counts());
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
