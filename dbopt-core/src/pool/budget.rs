//! The connections of the whole application instance, counted.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts every open connection of the instance and keeps them below the maximum (4.1).
#[derive(Debug)]
pub struct Budget {
    max: usize,
    open: AtomicUsize,
    /// How many connections have ever given their room back.
    releases: AtomicU64,
    released: Notify,
}

impl Budget {
    /// A budget of at most `max` connections.
    pub fn new(max: u32) -> Arc<Self> {
        Arc::new(Budget {
            max: max as usize,
            open: AtomicUsize::new(0),
            releases: AtomicU64::new(0),
            released: Notify::new(),
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

    /// How many connections have ever given their room back; to be read before trying to take some.
    pub(crate) fn releases(&self) -> u64 {
        self.releases.load(Ordering::Acquire)
    }

    /// Waits until more connections than `seen` have given their room back, which may be at once.
    pub(crate) async fn released_since(&self, seen: u64) {
        loop {
            let mut released = pin!(self.released.notified());
            released.as_mut().enable();
            if self.releases() != seen {
                return;
            }
            released.await;
        }
    }

    /// Takes room for one connection of the pool counted by `pool`, if both have it.
    pub(crate) fn take(self: &Arc<Self>, pool: &Arc<AtomicUsize>, pool_max: usize) -> Option<Permit> {
        let below = |limit: usize| move |n: usize| (n < limit).then_some(n + 1);
        pool.fetch_update(Ordering::AcqRel, Ordering::Acquire, below(pool_max)).ok()?;
        if self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, below(self.max)).is_err() {
            pool.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Permit { budget: self.clone(), pool: pool.clone() })
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
        self.budget.releases.fetch_add(1, Ordering::AcqRel);
        self.budget.released.notify_waiters();
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

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_room_misses_no_release() {
        let budget = Budget::new(1);
        let pool = Arc::default();
        let held = budget.take(&pool, 1);
        let seen = budget.releases();
        assert!(budget.take(&pool, 1).is_none());
        drop(held);
        // Released between the attempt and the wait.
        budget.released_since(seen).await;
        let held = budget.take(&pool, 1);
        let (waiting, seen) = (budget.clone(), budget.releases());
        let waiter = tokio::spawn(async move { waiting.released_since(seen).await });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        drop(held);
        tokio::time::timeout(std::time::Duration::from_secs(1), waiter).await.expect("it is woken").unwrap();
    }
}
