//! When Redis is not asked: after several answers in a row that came too late, until a ping is answered.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use tokio::sync::Notify;

/// How many late answers in a row close the way.
const LATE: u32 = 3;

#[derive(Debug, Default)]
pub(crate) struct Gate {
    late: AtomicU32,
    refusing: AtomicBool,
    /// Wakes who pings.
    pub(crate) tripped: Notify,
}

impl Gate {
    pub(crate) fn refuses(&self) -> bool {
        self.refusing.load(Relaxed)
    }

    pub(crate) fn late(&self) {
        if self.late.fetch_add(1, Relaxed) + 1 >= LATE && !self.refusing.swap(true, Relaxed) {
            self.tripped.notify_one();
        }
    }

    /// A ping was not answered.
    pub(crate) fn refuse(&self) {
        self.refusing.store(true, Relaxed);
    }

    /// An answer came in time; one that was asked for before the gate began to refuse opens nothing.
    pub(crate) fn in_time(&self) {
        if self.late.load(Relaxed) != 0 && !self.refuses() {
            self.late.store(0, Relaxed);
        }
    }

    /// A ping was answered.
    pub(crate) fn open(&self) {
        self.late.store(0, Relaxed);
        self.refusing.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_answers_in_a_row_close_it_and_only_a_ping_opens_it() {
        let gate = Gate::default();
        for _ in 0..10 {
            (1..LATE).for_each(|_| gate.late());
            gate.in_time();
        }
        assert!(!gate.refuses(), "never that many in a row");
        (0..LATE).for_each(|_| gate.late());
        gate.in_time();
        assert!(gate.refuses(), "an answer from before proves nothing");
        gate.open();
        assert!(!gate.refuses());
        gate.late();
        assert!(!gate.refuses(), "counts anew");
    }
}
