//! The connections of the whole application instance, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts every open connection of the instance and keeps them below the maximum (4.1).
#[derive(Debug)]
pub struct Budget {
    max: usize,
    open: AtomicUsize,
}

impl Budget {
    /// A budget of at most `max` connections.
    pub fn new(max: u32) -> Arc<Self> {
        Arc::new(Budget {
            max: max as usize,
            open: AtomicUsize::new(0),
        })
    }

    /// Connections that are open or being opened.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// The most that may be open.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Takes room for one connection of the pool counted by `pool`, if both have it.
    pub(crate) fn take(self: &Arc<Self>, pool: &Arc<AtomicUsize>, pool_max: usize) -> Option<Permit> {
        let below = |limit: usize| move |n: usize| (n < limit).then_some(n + 1);
        pool.fetch_update(Ordering::AcqRel, Ordering::Acquire, below(pool_max))
            .ok()?;
        if self
            .open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, below(self.max))
            .is_err()
        {
            pool.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Permit {
            budget: self.clone(),
            pool: pool.clone(),
        })
    }
}

/// Room for one connection; dropped with it, wherever that happens.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Arc<Budget>,
    pool: Arc<AtomicUsize>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.fetch_sub(1, Ordering::AcqRel);
        self.budget.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_dropping_gives_back() {
        let budget = Budget::new(3);
        let (a, b) = (Arc::default(), Arc::default());
        let first = budget.take(&a, 2);
        let second = budget.take(&a, 2);
        assert!(first.is_some() && second.is_some());
        assert!(budget.take(&a, 2).is_none(), "the pool's share");
        let third = budget.take(&b, 2);
        assert!(third.is_some() && budget.take(&b, 2).is_none(), "the instance's budget");
        assert_eq!(b.load(Ordering::Relaxed), 1, "a refused take leaves no trace");
        drop(first);
        assert!(budget.take(&b, 2).is_some());
    }
}
