//! What happened lately, in slices of time. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Into how many slices a window is cut: seconds, for one of a minute.
const SLICES: usize = 60;

/// The outcomes of the last while. One is forgotten when its slice is as old as the window, to a slice exactly.
#[derive(Debug, Clone)]
pub(super) struct Window {
    slice: Duration,
    began: Option<Instant>,
    /// The number of the current slice since `began`.
    current: u64,
    slices: [Outcomes; SLICES],
    sum: Outcomes,
}

/// How many went well, and how many did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Outcomes {
    pub(super) successes: u64,
    pub(super) failures: u64,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        let slice = (length / SLICES as u32).max(Duration::from_nanos(1));
        Window { slice, began: None, current: 0, slices: [Outcomes::default(); SLICES], sum: Outcomes::default() }
    }

    pub(super) fn add(&mut self, now: Instant, successes: u64, failures: u64) {
        self.advance(now);
        for outcomes in [&mut self.slices[(self.current % SLICES as u64) as usize], &mut self.sum] {
            outcomes.successes += successes;
            outcomes.failures += failures;
        }
    }

    pub(super) fn sum(&mut self, now: Instant) -> Outcomes {
        self.advance(now);
        self.sum
    }

    pub(super) fn clear(&mut self) {
        self.slices = [Outcomes::default(); SLICES];
        self.sum = Outcomes::default();
    }

    fn advance(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let slice = (now.saturating_duration_since(began).as_nanos() / self.slice.as_nanos()) as u64;
        if slice >= self.current + SLICES as u64 {
            self.clear();
            self.current = slice;
        }
        while self.current < slice {
            self.current += 1;
            let old = std::mem::take(&mut self.slices[(self.current % SLICES as u64) as usize]);
            self.sum.successes -= old.successes;
            self.sum.failures -= old.failures;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against all outcomes with their times: one counts for at least 59 slices and at most 60.
        #[test]
        fn an_outcome_counts_for_the_length_of_the_window(steps in proptest::collection::vec((0u64..20_000, 0u64..5, 0u64..5), 1..80)) {
            let start = Instant::now();
            let (mut window, mut at, mut all) = (Window::new(Duration::from_secs(60)), 0, Vec::new());
            for (wait, successes, failures) in steps {
                at += wait;
                let now = start + Duration::from_millis(at);
                window.add(now, successes, failures);
                all.push((at, successes, failures));
                let sum = window.sum(now);
                let within = |limit: u64| all.iter().filter(move |(then, ..)| at - then <= limit);
                let (surely, perhaps) = (within(59_000), within(60_000));
                prop_assert!(sum.failures >= surely.clone().map(|x| x.2).sum::<u64>());
                prop_assert!(sum.failures <= perhaps.clone().map(|x| x.2).sum::<u64>());
                prop_assert!(sum.successes >= surely.map(|x| x.1).sum::<u64>());
                prop_assert!(sum.successes <= perhaps.map(|x| x.1).sum::<u64>());
            }
        }
    }
}
