//! Time for checks in memory: a number that a background loop moves on, because asking the system costs as much as a check.
//!
//! It may be behind, and then it stays behind: it never catches up by more than [`SLACK`] at once. A loop that was late for a
//! second loses that second, which makes every window longer; catching up would make them shorter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

const TICK: Duration = Duration::from_millis(10);

/// How far time may move on at once, in milliseconds.
pub(super) const SLACK: u64 = 20;

/// So much is added to all times, so that looking a window back does not reach below zero.
const EPOCH: u64 = 1 << 40;

/// Milliseconds.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    /// 0 until the loop runs.
    shown: AtomicU64,
    /// Whether each look asks the system: for what is compared with another machine's clock.
    exact: bool,
}

impl Clock {
    pub(super) fn new(exact: bool) -> Self {
        Clock { start: Instant::now(), shown: AtomicU64::new(0), exact }
    }

    /// Moves the time on, for ever.
    pub(super) async fn run(&self) {
        let mut ticker = interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = self.measure();
        // What was shown before cannot have been later.
        let mut shown = last;
        loop {
            ticker.tick().await;
            let now = self.measure();
            shown += (now - last).min(SLACK);
            last = now;
            self.shown.store(shown, Ordering::Release);
        }
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        if self.exact {
            return self.measure();
        }
        match self.shown.load(Ordering::Acquire) {
            0 => self.measure(),
            shown => shown,
        }
    }

    fn measure(&self) -> u64 {
        EPOCH + self.start.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_was_late_loses_the_time() {
        let clock = Clock::new(false);
        let mut running = Box::pin(clock.run());
        assert!(futures_util::poll!(running.as_mut()).is_pending());
        let begin = clock.now();
        for _ in 0..100 {
            tokio::time::advance(TICK).await;
            assert!(futures_util::poll!(running.as_mut()).is_pending());
        }
        let on_time = clock.now() - begin;
        assert!((980..=1000).contains(&on_time), "{on_time}");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(futures_util::poll!(running.as_mut()).is_pending());
        assert!(clock.now() - begin <= on_time + SLACK);
    }
}
