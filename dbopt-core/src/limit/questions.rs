//! Questions to Redis under way, and what their caller holds meanwhile.

use std::sync::Arc;

use super::budget::Budget;
use super::cell::Cell;
use super::limiter::Limiter;
use super::remote::{Group, Unused, Want};
use crate::rate::Scope;

/// Questions under way, and what is held meanwhile.
pub(super) struct Questions {
    pub(super) limiter: Arc<Limiter>,
    pub(super) tag: u64,
    pub(super) cost: u32,
    pub(super) began: u64,
    pub(super) asked: Vec<(Arc<Budget>, Want)>,
    pub(super) held: Vec<(Arc<Budget>, u64)>,
    pub(super) unused: Vec<Unused>,
    pub(super) answered: bool,
}

/// Whoever waits for the answer looks again, also if the question was given up.
impl Drop for Questions {
    fn drop(&mut self) {
        let now = self.limiter.clock.now();
        for (budget, want) in &self.asked {
            budget.with(self.tag, now, |cell, _| {
                if !self.answered {
                    cell.debt = cell.debt.saturating_add(want.owed);
                }
                wake(cell);
            });
        }
        if !self.answered {
            for (budget, at) in &self.held {
                self.limiter.give_back_to(budget, self.tag, *at, self.cost);
            }
        }
    }
}

fn wake(cell: &mut Cell) {
    if let Some(notify) = cell.asking.take() {
        notify.notify_waiters();
    }
}

impl Questions {
    /// What all share is fetched ahead, whatever becomes of the caller's own permit; one at a time is taken together with it.
    pub(super) fn groups(&self) -> Vec<Group> {
        let (shared, own): (Vec<_>, Vec<_>) = self.asked.iter().partition(|(budget, _)| budget.scope != Scope::User);
        let wants = |some: &[&(Arc<Budget>, Want)]| some.iter().map(|(_, want)| want.clone()).collect::<Vec<_>>();
        let ahead = shared.iter().any(|(_, want)| want.most > want.least);
        if !ahead || own.is_empty() {
            return vec![Group { wants: wants(&[shared, own].concat()), needs_previous: false }];
        }
        vec![Group { wants: wants(&shared), needs_previous: false }, Group { wants: wants(&own), needs_previous: true }]
    }
}
