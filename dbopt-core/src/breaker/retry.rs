//! The waits of a call that looks for a connection again. Pure.

use std::time::Duration;

/// How long the call waits before its retry number `retry`, counted from 0: `initial`, doubled each time (1, 2, 4 s), half to all of it by
/// `random` in `0.0..1.0`; at least until the pool's own next attempt. `None` when its time would be up by then.
///
/// The two layers: a pool makes one attempt to connect at a time, on behalf of all who ask, and rests between them; a call waits for
/// the next one only when no other node can serve it, and never longer than it has.
pub fn waits(
    initial: Duration,
    retry: u32,
    random: f64,
    pool_rests: Option<Duration>,
    left: Duration,
) -> Option<Duration> {
    let full = initial.saturating_mul(1u32.checked_shl(retry).unwrap_or(u32::MAX));
    let own = full.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0));
    let wait = own.max(pool_rests.unwrap_or_default());
    (wait < left).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const AGES: Duration = Duration::from_secs(3600);

    #[test]
    fn waits_of_one_two_and_four_seconds() {
        let all: Vec<u64> = (0..3).filter_map(|n| waits(SECOND, n, 1.0, None, AGES)).map(|w| w.as_secs()).collect();
        assert_eq!(all, [1, 2, 4]);
        assert_eq!(waits(SECOND, 1, 0.0, None, AGES), Some(SECOND), "half of it at least");
    }

    #[test]
    fn never_sooner_than_the_pool_and_never_beyond_the_deadline() {
        assert_eq!(waits(SECOND, 0, 0.0, Some(SECOND * 3), AGES), Some(SECOND * 3));
        assert_eq!(waits(SECOND, 2, 1.0, None, SECOND * 4), None, "it would wait for nothing");
        assert_eq!(waits(SECOND, u32::MAX, 1.0, None, AGES), None);
    }
}
