//! A check that Redis must be asked for: for a caller who comes rarely one permit, for others more than one ahead.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, timeout_at};

use super::budget::{Budget, Resolved};
use super::cell::{Cell, Full};
use super::check::{Check, Quick};
use super::desk::Outcome;
use super::limiter::{BELIEVED, Limiter};
use super::overrides::Known;
use super::questions::Questions;
use super::remote::{Store, Told, Unused, Want};
use super::verdict::{Permits, Refused};
use crate::context::Context;
use crate::rate::Scope;

/// How often an answer that came too late to be used is asked for again.
const ATTEMPTS: u32 = 3;

/// A check that waits for an answer.
pub struct Asking {
    pub(super) limiter: Arc<Limiter>,
    pub(super) check: Check,
    pub(super) resolved: Arc<Resolved>,
    pub(super) name: String,
    pub(super) user: Option<String>,
}

/// What can be done at once.
enum Step {
    Done(Permits),
    Refused(Scope, Full),
    /// Somebody else asks for the same permits.
    Wait(OwnedNotified),
    Send(Questions),
}

/// What one budget has to say.
enum See {
    Held(u64),
    Full(Full),
    Wait(OwnedNotified),
    Ask(Want, Option<Unused>),
}

impl Asking {
    /// Whether the call may run.
    ///
    /// # Errors
    /// When a limit is used up, or cannot be checked and must be.
    ///
    /// # Cancel safety
    /// Dropping the future may lose a permit until its window has passed.
    pub async fn answer(self) -> Result<Permits, Refused> {
        let answer = self.decide().await;
        if let Some(context) = Context::current().filter(Context::reports) {
            self.limiter.note(&context, &self.resolved, self.check.tag, self.check.parts, answer.as_ref().err());
        }
        answer
    }

    async fn decide(&self) -> Result<Permits, Refused> {
        self.learn_limit().await;
        let Some(store) = self.limiter.store.clone() else {
            return match self.limiter.quick(self.check) {
                Quick::Admitted(permits) => Ok(permits),
                Quick::Full(scope, full) => {
                    Err(self.limiter.refused(self.check.op, &self.resolved, scope, self.check.tag, full))
                }
                // Its limit is about to be asked for again; this call was let in by the last answer.
                Quick::Ask => Ok(Permits::default()),
            };
        };
        let patience = Instant::now() + store.patience();
        for _ in 0..ATTEMPTS {
            loop {
                if !store.is_usable() {
                    return self.decide_alone();
                }
                match self.prepare() {
                    Step::Done(permits) => return Ok(self.admitted(permits, Outcome::Admitted)),
                    Step::Refused(scope, full) => return Err(self.refused(scope, full)),
                    Step::Wait(answered) => {
                        if timeout_at(patience, answered).await.is_err() {
                            return self.decide_alone();
                        }
                    }
                    Step::Send(mut questions) => {
                        if !questions.unused.is_empty() {
                            let (store, unused) = (store.clone(), std::mem::take(&mut questions.unused));
                            tokio::spawn(async move { drop(store.give_back(&unused).await) });
                        }
                        let Ok(told) = store.ask(questions.groups()).await else { return self.decide_alone() };
                        match self.apply(&store, questions, &told) {
                            Some(Ok(permits)) => return Ok(self.admitted(permits, Outcome::Admitted)),
                            Some(Err((scope, full))) => return Err(self.refused(scope, full)),
                            None => break,
                        }
                    }
                }
            }
        }
        self.decide_alone()
    }

    /// Asks the application for the user's limit, where it may have another one.
    async fn learn_limit(&self) {
        let overrides = &self.limiter.overrides;
        let Some(budget) = &self.resolved.user else { return };
        if !budget.overridable || !overrides.any() || !self.check.parts.user() {
            return;
        }
        let now = self.limiter.clock.now();
        if budget.with(self.check.tag, now, |cell, shared| shared || now < cell.limit_until) {
            return;
        }
        let (limit, until) = match (overrides.known(self.user.as_deref(), now), &self.user) {
            (Known::Limit(limit, until), _) => (limit, until),
            (Known::Unknown, None) => (None, u64::MAX),
            (Known::Unknown, Some(user)) => {
                let rates = overrides.ask(user).await;
                let limit = rates.map(|rates| Arc::new(self.limiter.limit(rates, Scope::User)));
                (limit, self.limiter.clock.now() + overrides.ttl())
            }
        };
        budget.with(self.check.tag, now, |cell, shared| {
            if !shared {
                cell.become_limited(limit, until);
            }
        });
    }

    fn prepare(&self) -> Step {
        let now = self.limiter.clock.now();
        let cost = self.resolved.cost;
        let mut questions = Questions {
            limiter: self.limiter.clone(),
            tag: self.check.tag,
            cost,
            began: now,
            asked: Vec::new(),
            held: Vec::new(),
            unused: Vec::new(),
            answered: false,
        };
        for budget in self.resolved.budgets(self.check.parts) {
            match budget.with(self.check.tag, now, |cell, shared| self.see(budget, cell, shared, now)) {
                See::Held(at) => questions.held.push((budget.clone(), at)),
                See::Full(full) => return Step::Refused(budget.scope, full),
                See::Wait(answered) => return Step::Wait(answered),
                See::Ask(want, unused) => {
                    questions.asked.push((budget.clone(), want));
                    questions.unused.extend(unused);
                }
            }
        }
        if questions.asked.is_empty() {
            questions.answered = true;
            let user = questions.held.iter().find(|(budget, _)| budget.scope == Scope::User);
            return Step::Done(Permits { user: user.map(|(_, at)| (self.check.tag, *at)), cost });
        }
        Step::Send(questions)
    }

    fn see(&self, budget: &Budget, cell: &mut Cell, shared: bool, now: u64) -> See {
        let cost = self.resolved.cost;
        if shared {
            let limit = budget.limit.clone();
            // Nothing is kept for those who have no place of their own.
            let key = self.limiter.key(budget, &self.name);
            return See::Ask(Want { key, limit, least: cost, most: cost, owed: 0 }, None);
        }
        if cell.take_left(now, cost) {
            return See::Held(cell.until);
        }
        let limit = budget.limit_of(cell).clone();
        if let Some(full) = cell.is_closed(now, cost) {
            return See::Full(full);
        }
        if let Some(asking) = &cell.asking {
            return See::Wait(asking.clone().notified_owned());
        }
        cell.asking = Some(Arc::new(Notify::new()));
        let key = cell.name.get_or_insert_with(|| self.limiter.key(budget, &self.name)).clone();
        let unused = cell.unused(now, true).map(|(count, stamp)| {
            self.limiter.expired.fetch_add(u64::from(count), Relaxed);
            Unused { key: key.clone(), limit: limit.clone(), stamp, count }
        });
        let most = cell.wanted(&limit, now, cost);
        let owed = std::mem::take(&mut cell.debt);
        See::Ask(Want { key, limit, least: cost, most, owed }, unused)
    }

    /// Keeps what Redis granted. `None`: the answer came too late to be used.
    fn apply(&self, store: &Store, mut questions: Questions, told: &[Told]) -> Option<Result<Permits, (Scope, Full)>> {
        let now = self.limiter.clock.now();
        let cost = questions.cost;
        let began = questions.began;
        let life = |want: &Want, told: &Told| {
            let life = if told.granted > want.least { want.limit.life } else { store.single_life() };
            // The two clocks need not go equally fast.
            life - (life / 200).min(life) - 1
        };
        let granted = questions.asked.iter().zip(told).all(|((_, want), told)| told.granted >= want.least);
        let in_time = questions.asked.iter().zip(told).all(|((_, want), told)| now < began + life(want, told));
        let admitted = granted && in_time;
        let mut full = None;
        let mut user =
            questions.held.iter().find(|(budget, _)| budget.scope == Scope::User).map(|(_, at)| (self.check.tag, *at));
        for ((budget, want), told) in questions.asked.iter().zip(told) {
            let until = began + life(want, told);
            budget.with(self.check.tag, now, |cell, shared| {
                cell.free = told.free;
                if told.granted > 0 && !shared {
                    cell.lease(&want.limit, now, told.granted, if admitted { cost } else { 0 }, until, told.stamp);
                } else if told.wait > 0 {
                    let why = Full { free_at: now + told.wait, window: told.window };
                    if !shared {
                        cell.close(cost, now + told.wait.min(BELIEVED), why);
                    }
                    full.get_or_insert((budget.scope, why));
                }
            });
            if told.granted > want.least {
                store.counts.leased.fetch_add(u64::from(told.granted), Relaxed);
            }
            if budget.scope == Scope::User {
                user = Some((self.check.tag, until));
            }
        }
        questions.answered = true;
        if admitted {
            return Some(Ok(Permits { user, cost }));
        }
        for (budget, at) in &questions.held {
            self.limiter.give_back_to(budget, self.check.tag, *at, cost);
        }
        full.map(Err)
    }

    /// What holds while Redis cannot be asked.
    fn decide_alone(&self) -> Result<Permits, Refused> {
        use super::config::WhenLost;
        let limiter = &self.limiter;
        let (now, cost) = (limiter.clock.now(), self.resolved.cost);
        let permits = Permits { user: None, cost };
        let first = self.resolved.budgets(self.check.parts).next().cloned();
        match (limiter.when_lost, first) {
            (WhenLost::Closed, Some(budget)) => {
                let refused = limiter.refused_lost(self.check.op, &budget, cost);
                limiter.count(self.check.op, &self.resolved, budget.scope, Outcome::Refused);
                return Err(refused);
            }
            (WhenLost::Open, _) => {
                for budget in self.resolved.budgets(self.check.parts) {
                    limiter.force(budget, self.check.tag, || self.name.clone(), cost);
                }
            }
            _ => {
                let share = limiter.share();
                let mut taken: Vec<&Arc<Budget>> = Vec::new();
                for budget in self.resolved.budgets(self.check.parts) {
                    if let Err(full) = self.take_share(budget, now, cost, share) {
                        for budget in taken {
                            budget.with(self.check.tag, now, |cell, _| {
                                cell.forgive(&budget.limit_of(cell).clone(), now, cost)
                            });
                        }
                        return Err(self.refused(budget.scope, full));
                    }
                    taken.push(budget);
                }
            }
        }
        Ok(self.admitted(permits, Outcome::Degraded))
    }

    fn take_share(&self, budget: &Budget, now: u64, cost: u32, share: f64) -> Result<(), Full> {
        budget.with(self.check.tag, now, |cell, shared| {
            if cell.name.is_none() && !shared {
                cell.name = Some(self.limiter.key(budget, &self.name));
            }
            cell.take_share(&budget.limit_of(cell).clone(), now, cost, share)
        })
    }

    fn admitted(&self, permits: Permits, outcome: Outcome) -> Permits {
        for budget in self.resolved.budgets(self.check.parts) {
            self.limiter.count(self.check.op, &self.resolved, budget.scope, outcome);
        }
        permits
    }

    fn refused(&self, scope: Scope, full: Full) -> Refused {
        self.limiter.count(self.check.op, &self.resolved, scope, Outcome::Refused);
        self.limiter.refused(self.check.op, &self.resolved, scope, self.check.tag, full)
    }
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").field("op", &self.check.op).field("parts", &self.check.parts).finish_non_exhaustive()
    }
}
