//! How many reads may be asked twice, and what came of those that were.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Runtime;
use crate::backend::Backend;
use crate::breaker::{Budget, BudgetPolicy};
use crate::observe::HedgeCounts;
use crate::op::Lane;
use crate::route;

/// So many reads a second may be asked twice in any case: a quiet instance would never earn one.
const FLOOR: f64 = 1.0;

/// Reads that were asked twice.
#[derive(Debug)]
pub(super) struct Hedges {
    budget: Mutex<Budget>,
    won: AtomicU64,
    lost: AtomicU64,
    failed: AtomicU64,
}

/// What came of a second attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hedged {
    /// It answered first.
    Won,
    /// The first attempt ended before it.
    Lost,
    /// It met an error of its node, or nobody answered in time.
    Failed,
}

impl Hedges {
    pub(super) fn new(config: &route::Config) -> Self {
        Hedges {
            budget: Mutex::new(Budget::new(BudgetPolicy {
                share: config.hedge_budget,
                per_second: if config.hedge_budget > 0.0 { FLOOR } else { 0.0 },
            })),
            won: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    pub(super) fn count(&self, hedged: Hedged) {
        let counter = match hedged {
            Hedged::Won => &self.won,
            Hedged::Lost => &self.lost,
            Hedged::Failed => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> HedgeCounts {
        HedgeCounts {
            won: self.won.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            refused: self.budget.lock().refused(),
        }
    }
}

impl<B: Backend> Runtime<B> {
    /// Takes a second attempt of a read out of the budget, if there is one.
    pub(super) fn may_hedge(&self) -> bool {
        let reads = self.pools.iter().map(|lanes| lanes[Lane::Read.index()].circuit().successes()).sum();
        self.hedges.budget.lock().take(Instant::now(), reads)
    }
}
