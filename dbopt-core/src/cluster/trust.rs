//! Whether a node that does not always answer is believed. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::position::Lsn;

/// The last answers of a node: so many misses in a row make it unreachable, or one more among the last ones.
#[derive(Debug, Default)]
pub(super) struct Answers {
    recent: VecDeque<bool>,
}

impl Answers {
    /// Notes whether it answered; true when it has been silent for `misses` probes in a row, or for more of the last `of`.
    pub(super) fn note(&mut self, answered: bool, misses: u32, of: u32) -> bool {
        self.recent.push_back(answered);
        while self.recent.len() > of.max(misses.saturating_add(1)) as usize {
            self.recent.pop_front();
        }
        let in_a_row = self.recent.iter().rev().take_while(|answered| !**answered).count();
        in_a_row >= misses as usize || self.missed() > misses as usize
    }

    /// How many of the last probes it did not answer.
    pub(super) fn missed(&self) -> usize {
        self.recent.iter().filter(|answered| !**answered).count()
    }
}

/// How long a node that was lost has to hold out before it is trusted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// After the first loss.
    pub(super) first: Duration,
    /// Each further loss doubles it, up to this.
    pub(super) longest: Duration,
    /// A loss this long ago does not count any more.
    pub(super) memory: Duration,
}

/// How a node was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// It did not answer.
    Silence,
    /// It answered, and could not be used: a replica between two upstreams does that once at each failover, and is not held down for
    /// it.
    Idle,
}

/// What a node still has to do before it is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Nothing.
    Full,
    /// To hold out for this long, after so many losses.
    HeldDown(Duration, usize),
    /// To replay what the primary had written when it came back.
    CatchesUp,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Phase {
    #[default]
    Trusted,
    Lost(Loss),
    Returning {
        until: Instant,
        goal: Option<Lsn>,
    },
}

/// A node's losses, and what follows from them.
#[derive(Debug, Default)]
pub(super) struct Reputation {
    phase: Phase,
    losses: VecDeque<(Instant, Loss)>,
    total: u64,
}

impl Reputation {
    /// Notes that the node cannot be used.
    pub(super) fn lost(&mut self, now: Instant, loss: Loss, patience: Patience) {
        if let Phase::Lost(known) = self.phase {
            if known == Loss::Silence || known == loss {
                return;
            }
            // Silence weighs more than what was first thought.
            self.losses.pop_back();
        } else {
            self.total += 1;
        }
        self.forget(now, patience);
        // More than these change nothing.
        if self.losses.len() == 32 {
            self.losses.pop_front();
        }
        self.losses.push_back((now, loss));
        self.phase = Phase::Lost(loss);
    }

    /// Notes that it could be used, having replayed up to `replayed` while the primary was at `newest`; whether it is trusted.
    pub(super) fn usable(&mut self, now: Instant, replayed: Lsn, newest: Option<Lsn>, patience: Patience) -> Trust {
        if let Phase::Lost(_) = self.phase {
            let hold = self.hold(now, patience);
            self.phase = Phase::Returning { until: now + hold, goal: newest };
        }
        let Phase::Returning { until, goal } = self.phase else { return Trust::Full };
        if now < until {
            return Trust::HeldDown(until - now, self.losses.len());
        }
        // What is newest now may be less, on a timeline that began earlier.
        if goal.zip(newest).is_some_and(|(goal, newest)| replayed < goal.min(newest)) {
            return Trust::CatchesUp;
        }
        self.phase = Phase::Trusted;
        Trust::Full
    }

    /// Notes that there is no choice but to trust it: it is the primary.
    pub(super) fn needed(&mut self) {
        self.phase = Phase::Trusted;
    }

    /// How often it was lost since the start.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// How often it was lost lately.
    pub(super) fn lately(&self) -> usize {
        self.losses.len()
    }

    fn forget(&mut self, now: Instant, patience: Patience) {
        while self.losses.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > patience.memory) {
            self.losses.pop_front();
        }
    }

    fn hold(&mut self, now: Instant, patience: Patience) -> Duration {
        self.forget(now, patience);
        let forgiven = usize::from(self.losses.back().is_some_and(|(_, loss)| *loss == Loss::Idle));
        match self.losses.len().saturating_sub(forgiven) {
            0 => Duration::ZERO,
            n => patience.first.saturating_mul(1 << (n - 1).min(16)).min(patience.longest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Patience =
        Patience { first: Duration::from_secs(2), longest: Duration::from_secs(60), memory: Duration::from_secs(600) };

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// How long after `at` the node is trusted, if it answers all the time and has everything.
    fn held(reputation: &mut Reputation, at: Instant) -> u64 {
        (0..).find(|s| reputation.usable(at + seconds(*s), Lsn(9), Some(Lsn(9)), PATIENCE) == Trust::Full).unwrap()
    }

    #[test]
    fn some_misses_in_a_row_or_one_more_of_the_last_ones_are_enough() {
        let told = |answers: &[bool]| {
            let mut known = Answers::default();
            answers.iter().map(|answered| known.note(*answered, 2, 5)).collect::<Vec<_>>()
        };
        assert_eq!(told(&[true, false, false]), [false, false, true]);
        assert_eq!(told(&[false, true, false, true, false]), [false, false, false, false, true]);
        let rarely: Vec<bool> = (0..40).map(|i| i % 3 != 0).collect();
        assert!(told(&rarely).iter().all(|lost| !lost), "two of five, never in a row");
        let mut patient = Answers::default();
        assert!((0..99).all(|_| !patient.note(false, 100, 5)) && patient.note(false, 100, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_was_never_lost_is_trusted_at_once() {
        assert_eq!(held(&mut Reputation::default(), Instant::now()), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_isolated_loss_costs_little_and_a_flapping_node_ever_more() {
        let (mut reputation, mut now, mut holds) = (Reputation::default(), Instant::now(), Vec::new());
        for _ in 0..8 {
            reputation.lost(now, Loss::Silence, PATIENCE);
            reputation.lost(now, Loss::Silence, PATIENCE);
            let hold = held(&mut reputation, now);
            holds.push(hold);
            now += seconds(hold);
        }
        assert_eq!(holds, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(reputation.total(), 8);
        now += seconds(601);
        reputation.lost(now, Loss::Silence, PATIENCE);
        assert_eq!(held(&mut reputation, now), 2, "what was long ago is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_between_two_upstreams_is_not_held_down_once() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
        reputation.lost(now, Loss::Idle, PATIENCE);
        assert_eq!(held(&mut reputation, now), 0);
        reputation.lost(now, Loss::Idle, PATIENCE);
        assert_eq!(held(&mut reputation, now), 2);
        reputation.lost(now, Loss::Idle, PATIENCE);
        reputation.lost(now, Loss::Silence, PATIENCE);
        assert_eq!(held(&mut reputation, now), 8, "that it was silent too counts");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_returns_before_it_has_caught_up() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
        reputation.lost(now, Loss::Silence, PATIENCE);
        let mut see =
            |s: u64, replayed, newest| reputation.usable(now + seconds(s), Lsn(replayed), Some(Lsn(newest)), PATIENCE);
        assert!(matches!(see(0, 10, 500), Trust::HeldDown(..)));
        assert_eq!(see(3, 400, 900), Trust::CatchesUp);
        assert_eq!(see(4, 500, 1100), Trust::Full, "what came after its return is the lag's business");
    }

    #[tokio::test(start_paused = true)]
    async fn a_goal_of_a_lost_timeline_holds_nobody_up() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
        reputation.lost(now, Loss::Idle, PATIENCE);
        assert_eq!(reputation.usable(now, Lsn(10), Some(Lsn(500)), PATIENCE), Trust::CatchesUp);
        assert_eq!(reputation.usable(now, Lsn(300), Some(Lsn(300)), PATIENCE), Trust::Full);
        reputation.lost(now, Loss::Idle, PATIENCE);
        assert!(matches!(reputation.usable(now, Lsn(1), None, PATIENCE), Trust::HeldDown(..)));
        assert_eq!(reputation.usable(now + seconds(5), Lsn(1), None, PATIENCE), Trust::Full, "nobody can tell");
    }

    proptest! {
        #[test]
        fn a_node_that_stays_is_trusted_within_the_longest_hold(gaps in proptest::collection::vec((0u64..700, any::<bool>()), 1..60)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let _guard = runtime.enter();
            let (mut reputation, mut now) = (Reputation::default(), Instant::now());
            for (gap, silent) in gaps {
                now += seconds(gap);
                reputation.lost(now, if silent { Loss::Silence } else { Loss::Idle }, PATIENCE);
                now += seconds(1);
                reputation.usable(now, Lsn(9), Some(Lsn(9)), PATIENCE);
            }
            prop_assert!(held(&mut reputation, now) <= 60);
        }
    }
}
