//! The check itself: what is decided at once, without waiting and without memory of its own.

use std::sync::Arc;

use super::ask::Asking;
use super::budget::Budget;
use super::cell::{Cell, Full};
use super::desk::{self, Outcome, Post, Stripe};
use super::limiter::Limiter;
use super::method::Limited;
use super::overrides::Known;
use super::verdict::{Parts, Permits, Verdict};
use super::who::Who;
use crate::context::Context;
use crate::op::Op;
use crate::rate::Scope;

/// What is known after a look without asking anybody.
pub(super) enum Quick {
    Admitted(Permits),
    Full(Scope, Full),
    Ask,
}

/// May the caller of `tag` call `op` now, as far as `parts` of its limits go?
#[derive(Clone, Copy)]
pub(super) struct Check {
    pub(super) op: &'static Op,
    pub(super) limited: Option<&'static Limited>,
    pub(super) tag: u64,
    pub(super) parts: Parts,
}

impl Limiter {
    /// Takes what a call of `op` needs, if that can be known at once.
    #[inline]
    pub fn check(&self, op: &'static Op, limited: Option<&'static Limited>, who: Who<'_>, parts: Parts) -> Verdict {
        let (tag, special) = Context::caller();
        let check = Check { op, limited, tag: who.tag(tag), parts };
        if special {
            return self.check_noted(check, who);
        }
        match self.quick(check) {
            Quick::Admitted(permits) => Verdict::Admitted(permits),
            other => self.slow(check, who, other),
        }
    }

    #[cold]
    fn slow(&self, check: Check, who: Who<'_>, quick: Quick) -> Verdict {
        match quick {
            Quick::Admitted(permits) => Verdict::Admitted(permits),
            Quick::Full(scope, full) => {
                let resolved = self.resolve(check.op, check.limited);
                Verdict::Refused(Box::new(self.refused(check.op, &resolved, scope, check.tag, full)))
            }
            Quick::Ask => {
                let Some(limiter) = self.me.upgrade() else { return Verdict::Admitted(Permits::default()) };
                let (name, user) = who.name();
                let resolved = self.resolve(check.op, check.limited);
                Verdict::Ask(Box::new(Asking { limiter, check, resolved, name, user }))
            }
        }
    }

    /// For callers about whom something has to be noted besides.
    #[cold]
    fn check_noted(&self, check: Check, who: Who<'_>) -> Verdict {
        let Some(context) = Context::current() else { return Verdict::Admitted(Permits::default()) };
        let Check { op, limited, tag, parts } = check;
        let resolved = self.resolve(op, limited);
        if let Some(reason) = context.admin_reason() {
            let before = matches!(parts, Parts::User | Parts::All) && resolved.user.is_some();
            if before
                || (parts != Parts::User
                    && resolved.user.is_none()
                    && (resolved.global.is_some() || resolved.database.is_some()))
            {
                tracing::info!(target: "dbopt::audit", method = op.name(), user = context.user_id(), reason, "an administrator's call passes the limits");
            }
            self.bypass(op, &resolved, tag, parts, who);
            return Verdict::Admitted(Permits::default());
        }
        let verdict = self.slow(check, who, self.quick(check));
        match &verdict {
            Verdict::Admitted(_) => self.note(&context, &resolved, tag, parts, None),
            Verdict::Refused(refused) => self.note(&context, &resolved, tag, parts, Some(refused)),
            Verdict::Ask(_) => {}
        }
        verdict
    }

    #[inline]
    pub(super) fn quick(&self, check: Check) -> Quick {
        let now = self.clock.now();
        let Check { op, tag, parts, .. } = check;
        match desk::at(self.id, op.id(), |post, stripes| self.take_here(post, stripes, now, tag, parts)) {
            Some(quick) => quick,
            None => self.quick_first(check),
        }
    }

    /// The first check of a method by this thread.
    #[cold]
    fn quick_first(&self, Check { op, limited, tag, parts }: Check) -> Quick {
        let resolved = self.resolve(op, limited);
        let budgets = self.budgets.load().len();
        let now = self.clock.now();
        if desk::prepare(self.id, &self.registry, op, resolved.clone(), budgets)
            && let Some(quick) =
                desk::at(self.id, op.id(), |post, stripes| self.take_here(post, stripes, now, tag, parts))
        {
            return quick;
        }
        // The thread is ending.
        let post = Post { resolved, tally: Arc::default() };
        self.take_here(&post, &mut vec![Stripe::default(); budgets], now, tag, parts)
    }

    #[inline]
    fn take_here(&self, post: &Post, stripes: &mut [Stripe], now: u64, tag: u64, parts: Parts) -> Quick {
        let resolved = &*post.resolved;
        let cost = resolved.cost;
        if parts.shared() {
            if let Some(stop) = self.take_shared(&resolved.database, stripes, now, cost) {
                return self.stop(post, Scope::Database, stop);
            }
            if let Some(stop) = self.take_shared(&resolved.global, stripes, now, cost) {
                put_back(&resolved.database, stripes, cost);
                return self.stop(post, Scope::Global, stop);
            }
        }
        let mut user = None;
        if parts.user()
            && let Some(budget) = &resolved.user
        {
            match self.take_user(budget, now, tag, cost) {
                Ok(at) => user = Some((tag, at)),
                Err(stop) => {
                    if parts.shared() {
                        put_back(&resolved.database, stripes, cost);
                        put_back(&resolved.global, stripes, cost);
                    }
                    return self.stop(post, Scope::User, stop);
                }
            }
            post.tally.count(Scope::User, Outcome::Admitted);
        }
        if parts.shared() {
            for budget in [&resolved.database, &resolved.global].into_iter().flatten() {
                post.tally.count(budget.scope, Outcome::Admitted);
            }
        }
        Quick::Admitted(Permits { user, cost })
    }

    fn stop(&self, post: &Post, scope: Scope, stop: Option<Full>) -> Quick {
        match stop {
            Some(full) => {
                post.tally.count(scope, Outcome::Refused);
                Quick::Full(scope, full)
            }
            None => Quick::Ask,
        }
    }

    #[inline]
    fn take_shared(
        &self,
        budget: &Option<Arc<Budget>>,
        stripes: &mut [Stripe],
        now: u64,
        cost: u32,
    ) -> Option<Option<Full>> {
        let budget = budget.as_ref()?;
        let Some(stripe) = stripes.get_mut(budget.number) else { return Some(None) };
        if stripe.take(now, cost) { None } else { self.refill(budget, stripe, now, cost) }
    }

    #[cold]
    fn refill(&self, budget: &Budget, stripe: &mut Stripe, now: u64, cost: u32) -> Option<Option<Full>> {
        let threads = self.registry.desks();
        if self.store.is_some() {
            match budget.refill_from_lease(now, cost, threads) {
                Some(new) => *stripe = new,
                None => return Some(budget.with(0, now, |cell, _| cell.is_closed(now, cost))),
            }
            return None;
        }
        match budget.refill(now, cost, threads) {
            Ok(new) => *stripe = new,
            Err(full) => return Some(Some(full)),
        }
        None
    }

    /// When it was charged; otherwise when there will be more, or nothing where that has to be asked.
    #[inline]
    fn take_user(&self, budget: &Budget, now: u64, tag: u64, cost: u32) -> Result<u64, Option<Full>> {
        let special = budget.overridable && self.overrides.any();
        budget.with(tag, now, |cell, shared| {
            if special && now >= cell.limit_until && !shared && !self.know_limit(cell, now, tag) {
                return Err(None);
            }
            if cell.take_left(now, cost) {
                return Ok(if self.store.is_some() { cell.until } else { now });
            }
            self.take_more(budget, cell, now, cost).map(|()| now)
        })
    }

    #[inline(never)]
    fn take_more(&self, budget: &Budget, cell: &mut Cell, now: u64, cost: u32) -> Result<(), Option<Full>> {
        if self.store.is_some() {
            return Err(cell.is_closed(now, cost));
        }
        cell.draw(&budget.limit_of(cell).clone(), now, cost, 1.0, |_| cost).map(drop).map_err(Some)
    }

    /// Finds out whether a user has another limit, if that needs no waiting.
    #[cold]
    fn know_limit(&self, cell: &mut Cell, now: u64, tag: u64) -> bool {
        if tag != Context::caller().0 {
            return false;
        }
        let (_, user) = Context::caller_name();
        match self.overrides.known(user.as_deref(), now) {
            Known::Limit(limit, until) => {
                cell.become_limited(limit, until);
                true
            }
            Known::Unknown => false,
        }
    }
}

fn put_back(budget: &Option<Arc<Budget>>, stripes: &mut [Stripe], cost: u32) {
    if let Some(stripe) = budget.as_ref().and_then(|budget| stripes.get_mut(budget.number)) {
        stripe.left += cost;
    }
}
