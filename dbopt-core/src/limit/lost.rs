//! What happens around a loss of Redis, and to permits that nobody used.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::budget::Budget;
use super::limiter::Limiter;
use super::remote::{Group, Owner, Unused, Want};
use super::verdict::Refused;
use crate::error::LimitCause;
use crate::op::Op;

/// When to come back to a limit that cannot be checked.
const COME_BACK: Duration = Duration::from_secs(1);

impl Owner for Limiter {
    fn owed(&self, everything: bool) -> Vec<Group> {
        let now = self.clock.now();
        let mut groups = Vec::new();
        for budget in self.all_budgets().iter() {
            budget.each(|_, cell| {
                let limit = budget.limit_of(cell).clone();
                let Some(key) = cell.name.clone() else { return };
                let owed = cell.owed(&limit, now, everything);
                if owed > 0 {
                    let want = Want { key, limit, least: 0, most: 0, owed };
                    groups.push(Group { wants: vec![want], needs_previous: false });
                }
            });
        }
        groups
    }
}

impl Limiter {
    /// Gives back what was fetched and not used, and tells what is owed; with `all` also what could still be used.
    pub(super) async fn sweep(&self, all: bool) {
        let Some(store) = self.store.as_ref().filter(|store| store.is_usable()) else { return };
        let now = self.clock.now();
        let mut unused = Vec::new();
        for budget in self.all_budgets().iter() {
            budget.each(|_, cell| {
                let Some(key) = cell.name.clone() else { return };
                if let Some((count, stamp)) = cell.unused(now, all) {
                    let limit = budget.limit_of(cell).clone();
                    unused.push(Unused { key, limit, stamp, count });
                }
            });
        }
        let count = unused.iter().map(|unused| u64::from(unused.count)).sum();
        self.expired.fetch_add(count, Relaxed);
        if let Err(error) = store.give_back(&unused).await {
            tracing::debug!(target: "dbopt::limit", %error, "unused permits stay counted until their window has passed");
        }
        for groups in self.owed(false).chunks(64) {
            if let Err(error) = store.ask(groups.to_vec()).await {
                tracing::debug!(target: "dbopt::limit", %error, "what administrators did is counted in this instance only");
            }
        }
    }

    pub(super) fn refused_lost(&self, op: &'static Op, budget: &Arc<Budget>, cost: u32) -> Refused {
        Refused {
            method: op.name(),
            scope: budget.scope,
            limit: budget.limit.rate(0),
            cost,
            retry_after: COME_BACK,
            cause: LimitCause::StoreLost,
        }
    }
}
