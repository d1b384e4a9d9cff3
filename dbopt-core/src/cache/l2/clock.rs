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
