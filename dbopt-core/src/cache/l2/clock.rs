//! Redis' clock, as far as it is known here. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// One reading of Redis' clock: it was taken between the two local instants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) asked: Instant,
    pub(super) answered: Instant,
    pub(super) millis: u64,
}

impl Reading {
    /// The latest that Redis' clock may show at `now`.
    pub(super) fn latest(&self, now: Instant) -> u64 {
        self.millis + 1 + millis(now.saturating_duration_since(self.asked))
    }

    /// How far [`latest`](Self::latest) may be ahead of Redis' clock.
    pub(super) fn doubt(&self) -> Duration {
        self.answered.saturating_duration_since(self.asked) + Duration::from_millis(1)
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_estimate_is_never_behind_and_ahead_by_no_more_than_the_doubt(out in 0u64..500, back in 0u64..500, later in 0u64..10_000) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let _guard = runtime.enter();
            // Redis' clock shows 1000 when the question arrives there.
            let asked = Instant::now();
            let taken = asked + Duration::from_millis(out);
            let answered = taken + Duration::from_millis(back);
            let reading = Reading { asked, answered, millis: 1000 };
            let now = answered + Duration::from_millis(later);
            let truth = 1000 + millis(now - taken);
            let estimate = reading.latest(now);
            prop_assert!(estimate > truth && estimate - truth <= millis(reading.doubt()));
        }
    }
}
