//! What a check tells, and what is counted besides: refusals, notes for HTTP, calls of administrators, costs known afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::budget::{Budget, Resolved};
use super::cell::Full;
use super::desk::{self, Outcome};
use super::limiter::Limiter;
use super::method::Limited;
use super::verdict::{Parts, Permits, Refused};
use super::who::Who;
use crate::context::{Consulted, Context};
use crate::error::LimitCause;
use crate::op::Op;
use crate::rate::{Rate, Scope};

impl Limiter {
    /// Tells a context what the limits said.
    pub(super) fn note(
        &self,
        context: &Context,
        resolved: &Resolved,
        tag: u64,
        parts: Parts,
        refused: Option<&Refused>,
    ) {
        let now = self.clock.now();
        for budget in resolved.budgets(parts) {
            let refused = refused.filter(|refused| refused.scope == budget.scope);
            let (remaining, reset, windows) = budget.with(tag, now, |cell, _| {
                let limit = budget.limit_of(cell).clone();
                let (free, at) =
                    if self.store.is_some() { (cell.left + cell.free, cell.until) } else { cell.view(&limit, now) };
                (free, at.saturating_sub(now), limit.rates.windows().to_vec())
            });
            context.note(Consulted {
                scope: budget.scope,
                name: budget.name.clone(),
                windows,
                remaining: if refused.is_some() { 0 } else { remaining },
                reset: refused.map_or(Duration::from_millis(reset), |refused| refused.retry_after),
                refused: refused.map(|refused| refused.retry_after),
            });
        }
    }

    /// The refusal as it is told.
    pub(super) fn refused(&self, op: &'static Op, resolved: &Resolved, scope: Scope, tag: u64, full: Full) -> Refused {
        let now = self.clock.now();
        let cost = resolved.cost;
        let budget = resolved.budgets(Parts::All).find(|budget| budget.scope == scope);
        let limit = budget.map(|budget| budget.with(tag, now, |cell, _| budget.limit_of(cell).clone()));
        let rate = limit.as_ref().map_or(Rate::LEAST, |limit| limit.rate(full.window));
        let never = limit.and_then(|limit| limit.rates.least()).is_some_and(|least| least.get() < cost);
        if never && !self.complained.swap(true, Relaxed) {
            tracing::error!(target: "dbopt::limit", method = op.name(), cost, limit = %rate, "a method costs more than its limit: every call of it is refused");
        }
        Refused {
            method: op.name(),
            scope,
            limit: rate,
            cost,
            retry_after: Duration::from_millis(full.free_at.saturating_sub(now).max(1)),
            cause: if never { LimitCause::CostAboveLimit } else { LimitCause::UsedUp },
        }
    }

    /// Counts an outcome that was not decided at the desk.
    pub(super) fn count(&self, op: &'static Op, resolved: &Arc<Resolved>, scope: Scope, outcome: Outcome) {
        let count = || desk::at(self.id, op.id(), |post, _| post.tally.count(scope, outcome));
        if count().is_none() {
            desk::prepare(self.id, &self.registry, op, resolved.clone(), self.budgets.load().len());
            count();
        }
    }

    /// Counts an administrator's call, which nothing refuses.
    pub(super) fn bypass(&self, op: &'static Op, resolved: &Arc<Resolved>, tag: u64, parts: Parts, who: Who<'_>) {
        for budget in resolved.budgets(parts) {
            self.count(op, resolved, budget.scope, Outcome::Bypassed);
            self.force(budget, tag, || who.name().0, resolved.cost);
        }
    }

    /// Counts what is not to be refused.
    pub(super) fn force(&self, budget: &Budget, tag: u64, name: impl FnOnce() -> String, cost: u32) {
        let now = self.clock.now();
        budget.with(tag, now, |cell, shared| {
            let limit = &budget.limit_of(cell).clone();
            if self.store.is_none() {
                cell.force(limit, now, cost);
            } else if !cell.take_left(now, cost) {
                if cell.name.is_none() && !shared {
                    cell.name = Some(self.key(budget, &name()));
                }
                cell.owe(limit, now, cost);
            }
        });
    }

    /// What a call that counts as its time has cost on its connection.
    pub fn took(&self, limited: &'static Limited, who: Who<'_>, took: Duration) {
        if !limited.is_by_time() || !self.enabled {
            return;
        }
        let more = u32::try_from(took.as_millis()).unwrap_or(u32::MAX).saturating_sub(limited.begins_with());
        if more == 0 {
            return;
        }
        let tag = who.tag(Context::caller().0);
        let resolved = self.resolve(limited.op(), Some(limited));
        for budget in [&resolved.user, &resolved.global].into_iter().flatten() {
            self.force(budget, tag, || who.name().0, more);
        }
    }

    /// Gives back what a call took of its caller's limit: it was refused further on.
    pub fn give_back(&self, limited: &'static Limited, permits: Permits) {
        let resolved = self.resolve(limited.op(), Some(limited));
        if let (Some(budget), Some((tag, at))) = (&resolved.user, permits.user) {
            self.give_back_to(budget, tag, at, permits.cost);
        }
    }

    pub(super) fn give_back_to(&self, budget: &Budget, tag: u64, at: u64, cost: u32) {
        let now = self.clock.now();
        budget.with(tag, now, |cell, _| {
            if self.store.is_none() {
                cell.give_back(&budget.limit_of(cell).clone(), now, at, cost);
            } else if cell.until == at {
                // Of the lease that it came from; otherwise it stays counted.
                cell.left += cost;
            }
        });
    }
}
