//! How far behind a replica is, in time, without comparing two machines' clocks. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::position::Lsn;

/// How far behind a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// It shows the primary as it was this long ago. 0 when it has everything known of the primary.
    Known(Duration),
    /// It is further behind than anything remembered of the primary: at least this long.
    AtLeast(Duration),
    /// The primary has not been reached lately, so nobody can tell. Not the same as 0.
    Unknown,
}

impl Lag {
    /// Whether the replica is known to be further behind than `limit`.
    pub fn exceeds(self, limit: Duration) -> bool {
        match self {
            Lag::Known(lag) | Lag::AtLeast(lag) => lag > limit,
            Lag::Unknown => false,
        }
    }

    /// Whether the replica is known to be no further behind than `limit`.
    pub fn is_within(self, limit: Duration) -> bool {
        matches!(self, Lag::Known(lag) if lag <= limit)
    }

    /// The lag in seconds, where it is known.
    pub fn seconds(self) -> Option<f64> {
        match self {
            Lag::Known(lag) | Lag::AtLeast(lag) => Some(lag.as_secs_f64()),
            Lag::Unknown => None,
        }
    }
}

/// The primary's log position as it was sampled over the last minutes.
///
/// A replica that has replayed the newest sample has no lag; otherwise its lag is the age of the first sample it lacks. That is right on
/// an idle primary, with paused replay, a cut receiver and a frozen sender, where the usual expressions
/// over `pg_last_xact_replay_timestamp()` or `pg_last_wal_receive_lsn()` are not.
#[derive(Debug, Default)]
pub struct LsnRing {
    samples: VecDeque<(Instant, Lsn)>,
    sampled_at: Option<Instant>,
    timeline: Option<u32>,
}

const CAPACITY: usize = 600;

impl LsnRing {
    /// Adds what the primary said at `now`. A new timeline starts over: its positions do not compare with the old ones.
    pub fn push(&mut self, now: Instant, timeline: Option<u32>, lsn: Lsn) {
        if timeline.is_some() && timeline != self.timeline {
            self.samples.clear();
            self.timeline = timeline;
        }
        self.sampled_at = self.sampled_at.max(Some(now));
        // An unmoved position says nothing new: what is remembered is when each position was first seen.
        if self.samples.back().is_none_or(|&(_, newest)| lsn > newest) {
            if self.samples.len() == CAPACITY {
                self.samples.pop_front();
            }
            self.samples.push_back((now, lsn));
        }
    }

    /// The newest position known.
    pub fn newest(&self) -> Option<Lsn> {
        self.samples.back().map(|&(_, lsn)| lsn)
    }

    /// When the first position that is known and beyond `replayed` was seen; `None` when there is none.
    pub fn first_missing(&self, replayed: Lsn) -> Option<Instant> {
        let first = self.samples.partition_point(|&(_, lsn)| lsn <= replayed);
        self.samples.get(first).map(|&(seen, _)| seen)
    }

    /// The newest position known, unless it was sampled longer ago than `fresh`.
    pub fn fresh(&self, now: Instant, fresh: Duration) -> Option<Lsn> {
        let sampled = self.sampled_at.filter(|at| now.saturating_duration_since(*at) <= fresh);
        sampled.and_then(|_| self.newest())
    }

    /// How many bytes of log a replica lacks that has replayed up to `replayed`.
    pub fn bytes(&self, now: Instant, replayed: Lsn, fresh: Duration) -> Option<u64> {
        self.fresh(now, fresh).map(|newest| newest.bytes_since(replayed))
    }

    /// The lag that a replica had when the primary was sampled last, if it has replayed up to `replayed` by then.
    pub fn last_lag(&self, replayed: Lsn) -> Lag {
        self.sampled_at.map_or(Lag::Unknown, |at| self.lag(at, replayed, Duration::ZERO))
    }

    /// The lag of a replica that has replayed up to `replayed`; `fresh` is how old the last sample may be.
    pub fn lag(&self, now: Instant, replayed: Lsn, fresh: Duration) -> Lag {
        match self.sampled_at {
            Some(at) if now.saturating_duration_since(at) <= fresh => {}
            _ => return Lag::Unknown,
        }
        let first_missing = self.samples.partition_point(|&(_, lsn)| lsn <= replayed);
        match self.samples.get(first_missing) {
            None => Lag::Known(Duration::ZERO),
            Some(&(seen, _)) if first_missing == 0 => Lag::AtLeast(now.saturating_duration_since(seen)),
            Some(&(seen, _)) => Lag::Known(now.saturating_duration_since(seen)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRESH: Duration = Duration::from_secs(3);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_primary_makes_no_lag() {
        let mut ring = LsnRing::default();
        let start = Instant::now();
        for s in 0..120 {
            ring.push(start + seconds(s), Some(1), Lsn(500));
        }
        assert_eq!(ring.lag(start + seconds(119), Lsn(500), FRESH), Lag::Known(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_replica_falls_behind_by_the_clock() {
        let mut ring = LsnRing::default();
        let start = Instant::now();
        for s in 0..10 {
            ring.push(start + seconds(s), Some(1), Lsn(100 * (s + 1)));
        }
        // It has the sample of second 3 and lacks the one of second 4.
        assert_eq!(ring.lag(start + seconds(9), Lsn(450), FRESH), Lag::Known(seconds(5)));
        assert_eq!(ring.lag(start + seconds(9), Lsn(1), FRESH), Lag::AtLeast(seconds(9)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_after_a_quiet_hour_is_not_an_hour_of_lag() {
        let mut ring = LsnRing::default();
        let start = Instant::now();
        for s in 0..3600 {
            ring.push(start + seconds(s), Some(1), Lsn(100));
        }
        ring.push(start + seconds(3600), Some(1), Lsn(200));
        assert_eq!(ring.lag(start + seconds(3600), Lsn(100), FRESH), Lag::Known(Duration::ZERO));
        assert_eq!(ring.lag(start + seconds(3602), Lsn(100), FRESH), Lag::Known(seconds(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_primary_lag_is_unknown() {
        let mut ring = LsnRing::default();
        let start = Instant::now();
        assert_eq!(ring.lag(start, Lsn(1), FRESH), Lag::Unknown);
        ring.push(start, Some(1), Lsn(100));
        assert_eq!(ring.lag(start + seconds(10), Lsn(100), FRESH), Lag::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_unknown_when_time_is() {
        let (mut ring, start) = (LsnRing::default(), Instant::now());
        ring.push(start, Some(1), Lsn(900));
        assert_eq!(ring.bytes(start, Lsn(700), FRESH), Some(200));
        assert_eq!(ring.bytes(start, Lsn(901), FRESH), Some(0));
        assert_eq!(ring.bytes(start + seconds(4), Lsn(700), FRESH), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_timeline_starts_over() {
        let mut ring = LsnRing::default();
        let start = Instant::now();
        ring.push(start, Some(1), Lsn(900));
        ring.push(start + seconds(1), Some(2), Lsn(700));
        assert_eq!(ring.newest(), Some(Lsn(700)));
    }

    proptest! {
        #[test]
        fn more_replayed_is_never_more_lag(steps in proptest::collection::vec(0u64..50, 1..100), a in 0u64..3000, b in 0u64..3000) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let _guard = runtime.enter();
            let start = Instant::now();
            let mut ring = LsnRing::default();
            let mut lsn = 0;
            for (s, step) in steps.iter().enumerate() {
                lsn += step;
                ring.push(start + seconds(s as u64), Some(1), Lsn(lsn));
            }
            let now = start + seconds(steps.len() as u64);
            let lag = |replayed| ring.lag(now, Lsn(replayed), FRESH).seconds().unwrap();
            prop_assert!(lag(a.max(b)) <= lag(a.min(b)));
        }
    }
}
