//! How long an instance runs, and how many calls a second it makes lately.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The time over which calls are counted for a rate, as for the alerts.
const WINDOW: Duration = Duration::from_secs(30);

/// How far two notes are apart.
const STEP: Duration = Duration::from_secs(1);

/// Notes of a counter that only grows.
#[derive(Debug)]
pub(super) struct Pace {
    born: Instant,
    notes: Mutex<VecDeque<(Instant, u64)>>,
}

impl Default for Pace {
    fn default() -> Self {
        let born = Instant::now();
        Pace { born, notes: Mutex::new(VecDeque::from([(born, 0)])) }
    }
}

impl Pace {
    /// Since the instance began.
    pub(super) fn uptime(&self) -> Duration {
        self.born.elapsed()
    }

    /// Whether it is time for another note.
    pub(super) fn is_due(&self) -> bool {
        self.notes.lock().back().is_none_or(|(at, _)| at.elapsed() >= STEP)
    }

    /// Notes that so many calls were made until now.
    pub(super) fn note(&self, calls: u64) {
        let (now, mut notes) = (Instant::now(), self.notes.lock());
        // The newest that is old enough is the window's beginning.
        while notes.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            notes.pop_front();
        }
        notes.push_back((now, calls));
    }

    /// Calls per second in the last 30 seconds, or since the beginning, given how many there were until now.
    pub(super) fn per_second(&self, calls: u64) -> f64 {
        let notes = self.notes.lock();
        let Some((at, before)) = notes.front() else { return 0.0 };
        let seconds = at.elapsed().as_secs_f64();
        if seconds > 0.0 { calls.saturating_sub(*before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_that_of_the_last_half_minute() {
        let pace = Pace::default();
        assert_eq!(pace.per_second(7), 0.0, "nothing is known of no time");
        for second in 1..=100 {
            tokio::time::advance(STEP).await;
            assert!(pace.is_due());
            pace.note(second * 50);
            assert!(!pace.is_due());
        }
        assert_eq!(pace.per_second(5000), 50.0);
        tokio::time::advance(WINDOW).await;
        pace.note(5000);
        assert_eq!(pace.per_second(5000), 0.0, "what was before is forgotten");
        assert_eq!(pace.uptime(), Duration::from_secs(130));
        assert!(pace.notes.lock().len() <= 32);
    }
}
