//! Where calls wait that need a primary while there is none.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::observe::WaitCounts;

/// Where calls wait that need a primary while there is none: so many at once, critical ones apart.
#[derive(Debug)]
pub(super) struct WaitingRoom {
    limit: usize,
    critical: Bench,
    others: Bench,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Bench {
    waiting: AtomicUsize,
    /// How many have sat down so far.
    came: AtomicU64,
    called: Notify,
}

impl WaitingRoom {
    pub(super) fn new(limit: usize) -> Self {
        WaitingRoom { limit, critical: Bench::default(), others: Bench::default(), refused: AtomicU64::new(0) }
    }

    /// Whether anybody waits here at all.
    pub(super) fn is_open(&self) -> bool {
        self.limit > 0
    }

    /// A seat for one call; `None` when all are taken.
    pub(super) fn enter(&self, critical: bool) -> Option<Seat<'_>> {
        let bench = if critical { &self.critical } else { &self.others };
        let sits = |waiting: usize| (waiting < self.limit).then_some(waiting + 1);
        if bench.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, sits).is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        bench.came.fetch_add(1, Ordering::Relaxed);
        Some(Seat { bench })
    }

    /// Calls everybody in: critical calls first, and of equals who came first.
    pub(super) fn call_in(&self) {
        self.critical.called.notify_waiters();
        self.others.called.notify_waiters();
    }

    /// The most that wait, apart from critical calls.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn counts(&self) -> WaitCounts {
        let both = [&self.critical, &self.others];
        WaitCounts {
            waiting: both.iter().map(|bench| bench.waiting.load(Ordering::Relaxed)).sum(),
            waited: both.iter().map(|bench| bench.came.load(Ordering::Relaxed)).sum(),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// A seat, given back when it is left in whatever way.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    bench: &'a Bench,
}

impl Seat<'_> {
    /// Completes when those who wait are called in after this; to be enabled before looking whether there is a primary.
    pub(super) fn called(&self) -> Notified<'_> {
        self.bench.called.notified()
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.bench.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_call_has_so_many_seats_and_gives_them_back() {
        let room = WaitingRoom::new(2);
        let seats = (room.enter(false), room.enter(false));
        assert!(seats.0.is_some() && seats.1.is_some() && room.enter(false).is_none());
        let critical = room.enter(true);
        assert!(critical.is_some(), "others do not take their seats");
        drop(seats.0);
        assert!(room.enter(false).is_some());
        let counts = room.counts();
        assert_eq!((counts.waiting, counts.waited, counts.refused), (2, 4, 1));
        assert!(WaitingRoom::new(0).enter(true).is_none());
    }
}
