//! Time for lookups: a number in memory that a background loop moves on, because asking the system costs as much as a
//! whole lookup.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// How far the cheap time may lag behind, as long as the loop is on time.
pub const TICK: Duration = Duration::from_millis(25);

/// Milliseconds since the clock was made.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// 0 while nobody moves it on.
    ticks: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

impl Clock {
    /// A clock that asks the system each time, until [`Clock::run`] runs.
    pub fn new() -> Self {
        Clock { start: Instant::now(), ticks: AtomicU64::new(0) }
    }

    /// Moves the time on, for ever. The runtime spawns it.
    ///
    /// # Cancel safety
    /// When it is dropped the clock asks the system each time again.
    pub async fn run(&self) {
        struct Driven<'c>(&'c Clock);
        impl Drop for Driven<'_> {
            fn drop(&mut self) {
                self.0.ticks.store(0, Ordering::Release);
            }
        }
        let driven = Driven(self);
        let mut ticker = interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticker.tick().await;
            driven.0.ticks.store(self.measure(), Ordering::Release);
        }
    }

    /// The time, at most a tick late, or as late as the loop is.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        match self.ticks.load(Ordering::Relaxed) {
            0 => self.measure(),
            ticks => ticks,
        }
    }

    /// The time. Moves the cheap one on too, where the loop is late.
    pub(super) fn exact(&self) -> u64 {
        let now = self.measure();
        let known = self.ticks.load(Ordering::Relaxed);
        if known != 0 && known < now {
            // Fails when the loop was faster or has just ended, and is right to.
            let _ = self.ticks.compare_exchange(known, now, Ordering::AcqRel, Ordering::Relaxed);
        }
        now
    }

    fn measure(&self) -> u64 {
        self.start.elapsed().as_millis() as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_loop_moves_the_time_on_and_its_end_gives_it_back_to_the_system() {
        let clock = std::sync::Arc::new(Clock::new());
        let running = tokio::spawn({
            let clock = clock.clone();
            async move { clock.run().await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!((976..=1001).contains(&clock.now()), "{}", clock.now());
        running.abort();
        let _ = running.await;
        tokio::time::advance(Duration::from_millis(7)).await;
        assert_eq!(clock.now(), 1008);
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_loop_is_late_an_exact_look_moves_the_time_on() {
        let clock = Clock::new();
        let mut running = Box::pin(clock.run());
        assert!(futures_util::poll!(running.as_mut()).is_pending());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), 1, "the loop was not polled");
        assert_eq!(clock.exact(), 5001);
        assert_eq!(clock.now(), 5001);
    }
}
