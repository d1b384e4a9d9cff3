//! A limit with the state of those who share it.

use std::sync::Arc;

use parking_lot::Mutex;

use super::cell::{Cell, Full, Limit};
use super::desk::Stripe;
use super::table::Table;
use super::verdict::Parts;
use crate::rate::Scope;

/// The largest number of permits that a thread holds.
const MOST_IN_A_STRIPE: u32 = 4096;

/// A limit, and what was taken of it.
pub(super) struct Budget {
    pub(super) scope: Scope,
    /// What it is called in Redis and in headers.
    pub(super) name: Arc<str>,
    pub(super) limit: Arc<Limit>,
    /// Its place among the stripes of a desk.
    pub(super) number: usize,
    /// Whether single users may have another limit.
    pub(super) overridable: bool,
    pub(super) place: Place,
}

/// Who shares it.
pub(super) enum Place {
    /// Each caller has it for itself.
    Callers(Table),
    /// All callers.
    All(Mutex<Cell>),
}

/// What a limited method takes.
pub(super) struct Resolved {
    pub(super) user: Option<Arc<Budget>>,
    pub(super) global: Option<Arc<Budget>>,
    pub(super) database: Option<Arc<Budget>>,
    pub(super) cost: u32,
}

impl Resolved {
    /// The budgets that a check of these parts takes from.
    pub(super) fn budgets(&self, parts: Parts) -> impl Iterator<Item = &Arc<Budget>> {
        let shared = [&self.database, &self.global].into_iter().filter(move |_| parts.shared());
        shared.chain([&self.user].into_iter().filter(move |_| parts.user())).flatten()
    }
}

impl Budget {
    /// Uses the state of `tag`, or of all. The flag tells that it is shared with others who found no place.
    #[inline]
    pub(super) fn with<R>(&self, tag: u64, now: u64, use_it: impl FnOnce(&mut Cell, bool) -> R) -> R {
        match &self.place {
            Place::Callers(table) => table.with(tag, &self.limit, now, |found| use_it(found.cell, found.shared)),
            Place::All(cell) => use_it(&mut cell.lock(), false),
        }
    }

    /// What holds for the caller whose cell it is.
    pub(super) fn limit_of<'a>(&'a self, cell: &'a Cell) -> &'a Arc<Limit> {
        cell.limit.as_ref().unwrap_or(&self.limit)
    }

    /// Permits for a thread, from the windows of this instance; `cost` of them are taken at once.
    pub(super) fn refill(&self, now: u64, cost: u32, threads: u32) -> Result<Stripe, Full> {
        let batch = |free: u32| (free / (4 * threads)).clamp(cost, MOST_IN_A_STRIPE.max(cost));
        let exact = self.limit.is_exact();
        let taken = self.with(0, now, |cell, _| {
            cell.draw(&self.limit, now, cost, 1.0, |free| if exact { cost } else { batch(free) })
        })?;
        Ok(Stripe { left: taken - cost, until: now + self.limit.life })
    }

    /// Permits for a thread, of those that were fetched from Redis.
    pub(super) fn refill_from_lease(&self, now: u64, cost: u32, threads: u32) -> Option<Stripe> {
        self.with(0, now, |cell, _| {
            let batch = (cell.left / (2 * threads)).clamp(cost, MOST_IN_A_STRIPE.max(cost));
            let taken = if cell.take_left(now, batch) {
                batch
            } else if cell.take_left(now, cost) {
                cost
            } else {
                return None;
            };
            Some(Stripe { left: taken - cost, until: cell.until })
        })
    }

    /// Looks at every state that there is, with its tag.
    pub(super) fn each(&self, mut look: impl FnMut(Option<u64>, &mut Cell)) {
        match &self.place {
            Place::Callers(table) => table.each(look),
            Place::All(cell) => look(Some(0), &mut cell.lock()),
        }
    }

    /// How many callers are told apart.
    pub(super) fn tracked(&self) -> usize {
        match &self.place {
            Place::Callers(table) => table.tracked(),
            Place::All(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1 << 40;

    fn budget(text: &str) -> Budget {
        let limit = Limit::new(text.parse().unwrap(), 20, 50, 0, 50, 0);
        let place = Place::All(Mutex::default());
        Budget { scope: Scope::Global, name: "g".into(), limit: Arc::new(limit), number: 0, overridable: false, place }
    }

    fn most(log: &[u64]) -> usize {
        let inside = |(i, end): (usize, &u64)| log[..=i].iter().filter(|at| **at + 1000 > *end).count();
        log.iter().enumerate().map(inside).max().unwrap_or(0)
    }

    fn take(budget: &Budget, stripe: &mut Stripe, now: u64) -> bool {
        stripe.take(now, 1) || budget.refill(now, 1, 4).map(|new| *stripe = new).is_ok()
    }

    /// Many threads with permits of their own: never more than the limit in any window, and hardly less.
    #[test]
    fn permits_in_stripes_never_exceed_the_limit() {
        let budget = budget("300/s");
        let mut stripes = [Stripe::default(); 4];
        let (mut log, mut random) = (Vec::new(), 7u64);
        for step in 0..12_000u64 {
            let now = START + step / 2;
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if take(&budget, &mut stripes[(random >> 33) as usize % 4], now) {
                log.push(now);
            }
        }
        assert!(most(&log) <= 300, "{}", most(&log));
        // Six seconds, and a window is a bucket and the life of a stripe longer.
        assert!(log.len() as f64 >= 300.0 * 6000.0 / 1100.0 * 0.95, "{}", log.len());
    }

    /// A thread that comes back after a while must not use what was counted long ago.
    #[test]
    fn permits_of_an_idle_thread_end() {
        let budget = budget("300/s");
        let [mut idle, mut busy] = [Stripe::default(); 2];
        let mut log = Vec::new();
        for now in START..START + 2000 {
            let comes = now == START || now == START + 900;
            for _ in 0..if comes { 100 } else { 0 } {
                // One at first; all that it can get the second time.
                if (now > START || log.is_empty()) && take(&budget, &mut idle, now) {
                    log.push(now);
                }
            }
            for _ in 0..20 {
                if take(&budget, &mut busy, now) {
                    log.push(now);
                }
            }
        }
        assert!(most(&log) <= 300, "{}", most(&log));
    }
}
