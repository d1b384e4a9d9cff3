//! What one caller may still do: permits that are admitted without further ado, and where they come from.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tokio::sync::Notify;

use super::window::{Meter, Shape, shapes};
use crate::rate::{Rate, Rates};

/// A limit as it is counted.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) rates: Rates,
    pub(super) shapes: Box<[Shape]>,
    /// For how long permits fetched ahead are used.
    pub(super) life: u64,
    /// The most that is fetched ahead at once; below 2, nothing is.
    pub(super) most: u32,
}

impl Limit {
    pub(super) fn new(rates: Rates, buckets: u32, life: u64, slack: u64, ahead: u64, most: u32) -> Self {
        let shapes = shapes(&rates, buckets).into_iter().map(|shape| shape.ahead(ahead).slack(slack)).collect();
        Limit { rates, shapes, life, most }
    }

    /// The window whose place is `at`.
    pub(super) fn rate(&self, at: usize) -> Rate {
        self.rates.windows().get(at).copied().unwrap_or(Rate::LEAST)
    }

    pub(super) fn is_exact(&self) -> bool {
        self.shapes.iter().any(|shape| shape.bucket == 0)
    }
}

/// When there will be enough, and which window is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) free_at: u64,
    pub(super) window: usize,
}

/// The state of one caller. What nearly every check looks at is here, so that many callers fit into the processor's cache.
#[derive(Debug, Default)]
pub(super) struct Cell {
    /// What is admitted until `until` without further ado: without Redis what is free in all windows, with Redis the
    /// permits that were fetched.
    pub(super) left: u32,
    /// What was taken of it and the meter was not told of.
    used: u32,
    pub(super) until: u64,
    rest: Option<Box<Rest>>,
}

/// What else is known of a caller.
#[derive(Debug)]
pub(super) struct Rest {
    /// With Redis: until then calls of at least `closed_cost` are refused without asking.
    closed_until: u64,
    closed_cost: u32,
    closed: Option<Full>,
    /// With Redis: how many permits to fetch next time, and when that was asked last.
    want: u32,
    asked_at: u64,
    /// What was admitted without asking Redis, and Redis has to hear of.
    pub(super) debt: u32,
    /// With Redis: what was free there at the last answer.
    pub(super) free: u32,
    /// Redis' time at which the permits in `left` count as used.
    pub(super) stamp: u64,
    /// What this instance has taken.
    meter: Option<Meter>,
    /// Where it differs from that of the budget.
    pub(super) limit: Option<Arc<Limit>>,
    /// Until when that limit, or that there is none, is known.
    pub(super) limit_until: u64,
    /// Someone asks Redis; who else needs permits waits for the answer.
    pub(super) asking: Option<Arc<Notify>>,
    /// The caller's name in Redis; known once Redis was asked.
    pub(super) name: Option<Arc<str>>,
}

impl Rest {
    const EMPTY: Rest = Rest {
        closed_until: 0,
        closed_cost: 0,
        closed: None,
        want: 0,
        asked_at: 0,
        debt: 0,
        free: 0,
        stamp: 0,
        meter: None,
        limit: None,
        limit_until: 0,
        asking: None,
        name: None,
    };
}

/// What is known of a caller of whom nothing else is.
static EMPTY: Rest = Rest::EMPTY;

impl Deref for Cell {
    type Target = Rest;

    fn deref(&self) -> &Rest {
        self.rest.as_deref().unwrap_or(&EMPTY)
    }
}

impl DerefMut for Cell {
    fn deref_mut(&mut self) -> &mut Rest {
        self.rest.get_or_insert_with(|| Box::new(Rest::EMPTY))
    }
}

impl Cell {
    /// Takes what is there, as nearly all calls do.
    #[inline]
    pub(super) fn take_left(&mut self, now: u64, cost: u32) -> bool {
        let enough = now < self.until && cost <= self.left;
        if enough {
            self.left -= cost;
            self.used += cost;
        }
        enough
    }

    /// Takes from the windows of this instance.
    #[cfg(test)]
    pub(super) fn take(&mut self, limit: &Limit, now: u64, cost: u32) -> Result<(), Full> {
        if self.take_left(now, cost) { Ok(()) } else { self.draw(limit, now, cost, 1.0, |_| cost).map(drop) }
    }

    /// Takes what `amount` makes of what is free, at least `cost`; `share` cuts the limit down.
    #[inline(never)]
    pub(super) fn draw(
        &mut self,
        limit: &Limit,
        now: u64,
        cost: u32,
        share: f64,
        amount: impl FnOnce(u32) -> u32,
    ) -> Result<u32, Full> {
        let free = self.settle(limit, now, share);
        let shapes = &limit.shapes;
        let Some(meter) = &mut self.meter else { return Ok(cost) };
        if free < cost {
            let (free_at, window) = meter.free_at(shapes, now, cost, share);
            return Err(Full { free_at, window });
        }
        let taken = amount(free).clamp(cost, free);
        meter.charge(shapes, now, taken);
        (self.left, self.until) = (free - taken, meter.stays_until(shapes, now));
        Ok(taken)
    }

    /// What is free in the windows of this instance.
    fn settle(&mut self, limit: &Limit, now: u64, share: f64) -> u32 {
        let shapes = &limit.shapes;
        let used = std::mem::take(&mut self.used);
        (self.left, self.until) = (0, 0);
        let meter = self.meter.get_or_insert_with(|| Meter::new(shapes));
        if used > 0 {
            // In the bucket that it was advanced to last: `until` is not behind its end.
            meter.charge(shapes, now, used);
        }
        meter.advance(shapes, now);
        meter.free(shapes, share)
    }

    /// What counts at the moment.
    pub(super) fn used(&mut self, limit: &Limit, now: u64) -> u32 {
        if self.meter.is_none() {
            return 0;
        }
        self.settle(limit, now, 1.0);
        self.meter.as_ref().map_or(0, Meter::used)
    }

    /// Counts what is not to be refused.
    pub(super) fn force(&mut self, limit: &Limit, now: u64, cost: u32) {
        self.settle(limit, now, 1.0);
        if let Some(meter) = &mut self.meter {
            meter.charge(&limit.shapes, now, cost);
        }
    }

    /// Takes back what was taken at `at` and never used.
    pub(super) fn give_back(&mut self, limit: &Limit, now: u64, at: u64, cost: u32) {
        self.settle(limit, now, 1.0);
        if let Some(meter) = &mut self.meter {
            meter.give_back(&limit.shapes, at, cost);
        }
    }

    /// Changes to another limit. What was taken counts on.
    pub(super) fn become_limited(&mut self, limit: Option<Arc<Limit>>, until: u64) {
        self.limit_until = until;
        let same = match (&self.limit, &limit) {
            (None, None) => true,
            (Some(known), Some(new)) => known.rates == new.rates,
            _ => false,
        };
        if !same {
            self.limit = limit;
            (self.left, self.until, self.used) = (0, 0, 0);
            self.meter = None;
        }
    }

    /// Counts what Redis has to hear of.
    pub(super) fn owe(&mut self, limit: &Limit, now: u64, cost: u32) {
        self.debt = self.debt.saturating_add(cost);
        let meter = self.meter.get_or_insert_with(|| Meter::new(&limit.shapes));
        meter.advance(&limit.shapes, now);
        meter.charge(&limit.shapes, now, cost);
    }

    /// Takes back what was admitted without Redis.
    pub(super) fn forgive(&mut self, limit: &Limit, now: u64, cost: u32) {
        self.debt = self.debt.saturating_sub(cost);
        if let Some(meter) = &mut self.meter {
            meter.give_back(&limit.shapes, now, cost);
        }
    }

    /// What is free now, and when that changes; for those who ask.
    pub(super) fn view(&mut self, limit: &Limit, now: u64) -> (u32, u64) {
        if now < self.until {
            return (self.left, self.until);
        }
        let free = self.settle(limit, now, 1.0);
        let full = self.meter.as_ref().map_or(now, |meter| meter.free_at(&limit.shapes, now, free + 1, 1.0).0);
        (free, full)
    }

    /// Whether everything about this caller has left the windows.
    pub(super) fn is_idle(&mut self, limit: &Limit, now: u64) -> bool {
        if now < self.until || self.debt > 0 || self.asking.is_some() || now < self.closed_until {
            return false;
        }
        let used = std::mem::take(&mut self.used);
        match &mut self.meter {
            None => true,
            Some(meter) => {
                if used > 0 {
                    meter.charge(&limit.shapes, now, used);
                }
                meter.advance(&limit.shapes, now);
                meter.used() == 0
            }
        }
    }

    // With Redis.

    /// Notes permits that Redis gave: `taken` of them are used at once.
    pub(super) fn lease(&mut self, limit: &Limit, now: u64, granted: u32, taken: u32, until: u64, stamp: u64) {
        let more = granted.saturating_sub(taken);
        if now < self.until && self.left > 0 {
            // Two leases at once end together.
            self.until = self.until.min(until);
            self.left += more;
            self.stamp = self.stamp.min(stamp);
        } else {
            (self.left, self.until, self.stamp) = (more, until, stamp);
        }
        self.closed_until = 0;
        self.used = 0;
        let meter = self.meter.get_or_insert_with(|| Meter::new(&limit.shapes));
        meter.advance(&limit.shapes, now);
        meter.charge(&limit.shapes, now, granted);
    }

    /// How many permits to fetch: ever more while each lease is used up before it ends, one where calls are rare.
    pub(super) fn wanted(&mut self, limit: &Limit, now: u64, cost: u32) -> u32 {
        let rest = &mut **self;
        let since = now.saturating_sub(rest.asked_at);
        rest.want = match since {
            _ if since > 2 * limit.life => 1,
            _ if since <= limit.life => rest.want.max(1).saturating_mul(4).min(limit.most),
            _ => rest.want.max(1),
        };
        rest.asked_at = now;
        rest.want.max(cost)
    }

    /// Takes out permits that were not used, to be given back to Redis: how many, and their stamp.
    pub(super) fn unused(&mut self, now: u64, all: bool) -> Option<(u32, u64)> {
        let over = self.left > 0 && (all || now >= self.until);
        over.then(|| {
            self.want = (self.want / 2).max(1);
            let left = std::mem::take(&mut self.left);
            (left, self.stamp)
        })
    }

    /// Notes that Redis has refused.
    pub(super) fn close(&mut self, cost: u32, until: u64, full: Full) {
        (self.closed_until, self.closed_cost, self.closed) = (until, cost, Some(full));
    }

    /// Whether Redis has refused as much a moment ago.
    pub(super) fn is_closed(&self, now: u64, cost: u32) -> Option<Full> {
        self.closed.filter(|_| now < self.closed_until && cost >= self.closed_cost)
    }

    /// Takes from this instance's share, because Redis cannot be asked.
    pub(super) fn take_share(&mut self, limit: &Limit, now: u64, cost: u32, share: f64) -> Result<(), Full> {
        if self.take_left(now, cost) {
            // What was fetched is paid for.
            return Ok(());
        }
        // Permits that were not used are lost: they stay counted.
        self.used = 0;
        self.draw(limit, now, cost, share, |_| cost)?;
        (self.left, self.until) = (0, 0);
        self.debt = self.debt.saturating_add(cost);
        Ok(())
    }

    /// What Redis has to hear of: what it never heard of, or after it has lost everything all that this instance took.
    pub(super) fn owed(&mut self, limit: &Limit, now: u64, everything: bool) -> u32 {
        let debt = std::mem::take(&mut self.debt);
        if everything {
            (self.left, self.until) = (0, 0);
        }
        match &mut self.meter {
            Some(meter) if everything => {
                meter.advance(&limit.shapes, now);
                meter.used().max(debt)
            }
            _ => debt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1 << 40;

    fn limit(text: &str) -> Limit {
        Limit::new(text.parse().unwrap(), 20, 50, 0, 0, 100)
    }

    #[test]
    fn what_is_left_is_taken_without_the_meter_and_counted_all_the_same() {
        let limit = limit("10/s");
        let mut cell = Cell::default();
        for i in 0..10 {
            assert!(cell.take(&limit, START + i, 1).is_ok(), "{i}");
        }
        let full = cell.take(&limit, START + 10, 1).unwrap_err();
        assert!((START + 1000..=START + 1050).contains(&full.free_at), "{full:?}");
        assert!(cell.take(&limit, full.free_at - 1, 1).is_err());
        assert!(cell.take(&limit, full.free_at, 10).is_ok());
        assert!(!cell.is_idle(&limit, full.free_at + 1000));
        assert!(cell.is_idle(&limit, full.free_at + 1100));
    }

    #[test]
    fn what_is_given_back_is_free_again_in_its_own_bucket() {
        let limit = limit("2/s");
        let mut cell = Cell::default();
        cell.take(&limit, START, 1).unwrap();
        cell.take(&limit, START + 300, 1).unwrap();
        cell.give_back(&limit, START + 400, START, 1);
        assert!(cell.take(&limit, START + 400, 1).is_ok());
        assert!(cell.take(&limit, START + 1100, 1).is_err(), "those of 300 and 400 still count");
    }

    #[test]
    fn permits_end_with_their_lease_and_go_back() {
        let limit = limit("100/s");
        let mut cell = Cell::default();
        cell.lease(&limit, START, 10, 1, START + 50, 777);
        assert!(cell.take_left(START + 49, 5));
        assert!(!cell.take_left(START + 50, 1));
        assert_eq!(cell.unused(START + 49, false), None);
        assert_eq!(cell.unused(START + 50, false), Some((4, 777)));
        assert_eq!(cell.unused(START + 50, false), None);
    }

    #[test]
    fn without_redis_a_share_is_admitted_and_owed() {
        let limit = limit("100/s");
        let mut cell = Cell::default();
        cell.lease(&limit, START, 20, 1, START + 50, 777);
        assert!(cell.take_share(&limit, START + 10, 19, 0.25).is_ok(), "it was fetched before");
        for i in 0..5 {
            assert!(cell.take_share(&limit, START + 60, 1, 0.25).is_ok(), "{i}");
        }
        assert!(cell.take_share(&limit, START + 60, 1, 0.25).is_err());
        assert_eq!(cell.owed(&limit, START + 70, false), 5);
        assert_eq!(cell.owed(&limit, START + 70, true), 25);
    }
}
