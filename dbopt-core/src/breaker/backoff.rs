//! Exponential backoff with jitter, as a value.

use std::time::Duration;

use tokio::time::Instant;

/// How long to wait between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// The wait after the first failure; each further failure doubles it.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
}

/// The failures in a row of one thing that is attempted again and again.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
    next_attempt: Option<Instant>,
}

impl Backoff {
    /// Notes a failed attempt; `random` in `0.0..1.0` spreads the next one over the upper half of its wait, so that
    /// many instances do not come back at the same instant.
    pub fn failed(&mut self, policy: BackoffPolicy, now: Instant, random: f64) -> Duration {
        let doubled = policy.initial.saturating_mul(1u32.checked_shl(self.failures.min(31)).unwrap_or(u32::MAX));
        let full = doubled.min(policy.max);
        let wait = full.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0));
        self.failures = self.failures.saturating_add(1);
        self.next_attempt = Some(now + wait);
        wait
    }

    /// Notes a success, or a sign from elsewhere that the next attempt may well succeed.
    pub fn reset(&mut self) {
        *self = Backoff::default();
    }

    /// How long to wait still; `None` when an attempt may be made now.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        let wait = self.next_attempt?.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: BackoffPolicy = BackoffPolicy { initial: Duration::from_secs(1), max: Duration::from_secs(30) };

    #[tokio::test(start_paused = true)]
    async fn waits_double_up_to_the_cap() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        let waits: Vec<u64> = (0..7).map(|_| backoff.failed(POLICY, now, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff.remaining(now), Some(Duration::from_secs(30)));
        backoff.reset();
        assert_eq!(backoff.remaining(now), None);
    }

    proptest! {
        #[test]
        fn jitter_stays_between_half_and_full(failures in 0u32..100, random in 0.0f64..1.0) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let _guard = runtime.enter();
            let mut backoff = Backoff { failures, next_attempt: None };
            let wait = backoff.failed(POLICY, Instant::now(), random);
            let full = POLICY.initial.saturating_mul(1 << failures.min(20)).min(POLICY.max);
            prop_assert!(wait >= full / 2 && wait <= full);
        }
    }
}
