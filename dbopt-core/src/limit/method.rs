//! What a limited method says.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::op::Op;
use crate::rate::{Rate, Rates};

/// The static description of one limited method; the macros write one per method.
///
/// ```
/// use dbopt_core::limit::Limited;
/// use dbopt_core::op::{Intent, Op};
///
/// static BOARD: Op = Op::new("Flights::board", Intent::Read);
/// static LIMITED: Limited = Limited::new(&BOARD).per_user(&[(100, 60_000)]).cost(5);
/// assert_eq!(LIMITED.own_per_user().to_string(), "100/min");
/// ```
pub struct Limited {
    op: &'static Op,
    per_user: &'static [(u32, u64)],
    global: &'static [(u32, u64)],
    cost: u32,
    by_time: bool,
}

impl Limited {
    /// `op` with the configured limits.
    pub const fn new(op: &'static Op) -> Self {
        Limited { op, per_user: &[], global: &[], cost: 1, by_time: false }
    }

    /// With a limit of its own for each caller: counts, each with its window in milliseconds.
    pub const fn per_user(mut self, windows: &'static [(u32, u64)]) -> Self {
        self.per_user = windows;
        self
    }

    /// With a limit of its own for all callers together.
    pub const fn global(mut self, windows: &'static [(u32, u64)]) -> Self {
        self.global = windows;
        self
    }

    /// Counts as so many calls.
    pub const fn cost(mut self, cost: u32) -> Self {
        self.cost = cost;
        self
    }

    /// Counts as the milliseconds that it takes on its connection, at least one. It is admitted while anything is left.
    pub const fn cost_by_time(mut self) -> Self {
        self.by_time = true;
        self
    }

    /// The method.
    pub const fn op(&self) -> &'static Op {
        self.op
    }

    /// What one call counts as when it begins.
    pub const fn begins_with(&self) -> u32 {
        self.cost
    }

    /// Whether it counts as the time it takes.
    pub const fn is_by_time(&self) -> bool {
        self.by_time
    }

    /// The limit of its own for each caller; empty: the configured one.
    pub fn own_per_user(&self) -> Rates {
        rates(self.per_user)
    }

    /// The limit of its own for all callers; empty: the configured one.
    pub fn own_global(&self) -> Rates {
        rates(self.global)
    }
}

/// Contradictions were refused when the method was compiled; of what came another way, only the strictest window counts.
fn rates(windows: &[(u32, u64)]) -> Rates {
    let rate = |(count, window): &(u32, u64)| {
        Some(Rate { count: NonZeroU32::new(*count)?, window: Duration::from_millis(*window) })
    };
    let all: Vec<Rate> = windows.iter().filter_map(rate).collect();
    Rates::new(all.iter().copied()).unwrap_or_else(|_| {
        all.iter().min_by_key(|rate| rate.count).map(|r| Rates::one(r.count, r.window)).unwrap_or_default()
    })
}

impl fmt::Debug for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited").field("op", &self.op).finish_non_exhaustive()
    }
}
