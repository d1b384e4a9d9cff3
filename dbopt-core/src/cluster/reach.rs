//! Whether every write of the primary has reached a replica, and since when not. Pure.
//!
//! Lag says how old what a replica shows is, and is unknown where nobody answers. This says since when the replica is known to lack something,
//! also while it is silent, cut off, or has gone a way of its own: then lag has nothing to say, and writes do not reach it all the same.

use std::time::Duration;

use tokio::time::Instant;

use super::lag::LsnRing;
use crate::position::Lsn;

/// Whether every write of the primary has reached a replica.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reached {
    /// Nobody can tell: it is no replica, or was never asked.
    #[default]
    Unknown,
    /// Everything that the primary is known to have written.
    All,
    /// The oldest write that it lacks was seen on the primary then.
    LacksSince(Instant),
}

impl Reached {
    /// For how long a write of the primary has not reached it; zero where all have.
    pub fn unreached(self) -> Option<Duration> {
        match self {
            Reached::Unknown => None,
            Reached::All => Some(Duration::ZERO),
            Reached::LacksSince(since) => Some(since.elapsed()),
        }
    }
}

/// What is remembered of a replica's progress.
#[derive(Debug, Default)]
pub(super) struct Progress {
    replayed: Option<Lsn>,
    reached: Reached,
}

impl Progress {
    /// Notes how far it has replayed the primary's log; `None` while it does not say. What the primary has written is in `ring`.
    pub(super) fn note(&mut self, replayed: Option<Lsn>, ring: &LsnRing) -> Reached {
        let moved = replayed > self.replayed;
        // After a rewind or a new copy it may have less than before.
        self.replayed = replayed.or(self.replayed);
        let (Some(known), Some(_)) = (self.replayed, ring.newest()) else { return self.reached };
        self.reached = match (ring.first_missing(known), self.reached) {
            (None, _) => Reached::All,
            (Some(seen), Reached::LacksSince(since)) if !moved => Reached::LacksSince(since.min(seen)),
            (Some(seen), _) => Reached::LacksSince(seen),
        };
        self.reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// A primary that writes 10 bytes each second until now.
    fn ring(start: Instant, until: u64) -> LsnRing {
        let mut ring = LsnRing::default();
        (0..=until).for_each(|s| ring.push(start + seconds(s), Some(1), Lsn(100 + 10 * s)));
        ring
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_lacks_something_since_the_first_write_it_has_not_replayed() {
        let (start, mut progress) = (Instant::now(), Progress::default());
        assert_eq!(
            progress.note(Some(Lsn(100)), &LsnRing::default()),
            Reached::Unknown,
            "of no primary anything is known"
        );
        assert_eq!(progress.note(Some(Lsn(150)), &ring(start, 5)), Reached::All);
        assert_eq!(progress.note(Some(Lsn(150)), &ring(start, 9)), Reached::LacksSince(start + seconds(6)));
        assert_eq!(progress.note(None, &ring(start, 20)), Reached::LacksSince(start + seconds(6)), "it is silent");
        assert_eq!(
            progress.note(Some(Lsn(200)), &ring(start, 30)),
            Reached::LacksSince(start + seconds(11)),
            "it moves"
        );
        assert_eq!(progress.note(Some(Lsn(400)), &ring(start, 30)), Reached::All);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lacking_for_longer_than_anything_is_remembered_stays_lacking_since_then() {
        let (start, mut progress) = (Instant::now(), Progress::default());
        progress.note(Some(Lsn(100)), &ring(start, 1));
        assert_eq!(progress.note(Some(Lsn(100)), &ring(start, 5000)), Reached::LacksSince(start + seconds(1)));
        // The other timeline begins where the first was left.
        let mut next = LsnRing::default();
        next.push(start + seconds(6000), Some(2), Lsn(9000));
        assert_eq!(progress.note(None, &next), Reached::LacksSince(start + seconds(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_never_heard_is_unknown() {
        assert_eq!(Progress::default().note(None, &ring(Instant::now(), 9)), Reached::Unknown);
        assert_eq!(Reached::Unknown.unreached(), None);
        assert_eq!(Reached::All.unreached(), Some(Duration::ZERO));
    }
}
