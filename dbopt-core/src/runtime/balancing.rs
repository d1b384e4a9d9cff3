//! The balancer at work: it looks again once a second and on every change of the cluster; and what the primary may do for replicas.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::{Config, Runtime};
use crate::backend::Backend;
use crate::error::{Reason, Refusal};
use crate::op::Lane;

/// How often weights are made anew.
const EVERY: Duration = Duration::from_secs(1);

pub(super) async fn look_again<B: Backend>(runtime: Weak<Runtime<B>>, mut changes: watch::Receiver<u64>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = changes.changed() => {}
        }
        let Some(runtime) = runtime.upgrade() else { return };
        runtime.balance();
    }
}

impl<B: Backend> Runtime<B> {
    /// Makes the replicas' weights anew.
    pub(super) fn balance(&self) {
        self.balancer.look(&self.cluster.topology(), &self.calls.counts(), Instant::now());
    }
}

/// Reads that the primary serves in place of replicas: so many at once, the others wait for a while (trap of every fallback: the replicas
/// are gone, all reads come to the primary, and now the writes are gone as well).
#[derive(Debug)]
pub(super) struct StandIns {
    max: usize,
    room: Semaphore,
    waiting: AtomicUsize,
    max_waiting: usize,
    patience: Duration,
    retry_after: Duration,
    shed: AtomicU64,
}

/// Reads that the primary serves in place of replicas.
#[derive(Debug, Clone, Serialize)]
pub struct StandInStatus {
    /// How many run now.
    pub running: usize,
    /// How many may run at once.
    pub max: usize,
    /// How many wait for their turn.
    pub waiting: usize,
    /// How many were refused.
    pub shed: u64,
}

impl StandIns {
    pub(super) fn new(config: &Config) -> Self {
        let pool = &config.pool;
        let for_reads = f64::from(pool.max) * (1.0 - pool.write_share - pool.critical_share);
        let share = config.routing.primary_reads;
        let max = if share > 0.0 { (for_reads * share).round().max(1.0) as usize } else { 0 };
        StandIns {
            max,
            room: Semaphore::new(max),
            waiting: AtomicUsize::new(0),
            max_waiting: pool.max_waiting,
            patience: pool.acquire_timeout,
            retry_after: config.cluster.probe_interval,
            shed: AtomicU64::new(0),
        }
    }

    /// A permit for one read, as soon as there is room for it.
    ///
    /// # Errors
    /// When there is none in time, too many wait already, or the caller must not wait.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue.
    pub(super) async fn enter(&self, deadline: Instant, may_wait: bool) -> Result<SemaphorePermit<'_>, Reason> {
        if let Ok(permit) = self.room.try_acquire() {
            return Ok(permit);
        }
        let until = deadline.min(Instant::now() + self.patience);
        if self.max > 0 && may_wait && self.waiting.load(Ordering::Relaxed) < self.max_waiting {
            let _place = Place::take(&self.waiting);
            if let Ok(Ok(permit)) = timeout_at(until, self.room.acquire()).await {
                return Ok(permit);
            }
        }
        self.shed.fetch_add(1, Ordering::Relaxed);
        Err(Reason::Shed)
    }

    pub(super) fn refusal(&self, node: Arc<str>, reason: Reason) -> Refusal {
        let detail = format!(
            "no replica can serve the read, and the primary may run {} in place of replicas at once (routing.primary_reads), which it does",
            self.max
        );
        Refusal { node, lane: Lane::Read, reason, detail, retry_after: Some(self.retry_after) }
    }

    pub(super) fn status(&self) -> StandInStatus {
        StandInStatus {
            running: self.max - self.room.available_permits().min(self.max),
            max: self.max,
            waiting: self.waiting.load(Ordering::Relaxed),
            shed: self.shed.load(Ordering::Relaxed),
        }
    }
}

/// A place in the queue, given back when it is left in whatever way.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Place(waiting)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand_ins(share: f64) -> StandIns {
        let mut config = Config::default();
        config.routing.primary_reads = share;
        config.pool.max_waiting = 2;
        StandIns::new(&config)
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_the_connections_for_reads_and_then_one_by_one() {
        let stand_ins = stand_ins(0.5);
        let later = Instant::now() + Duration::from_secs(60);
        let mut permits = Vec::new();
        for _ in 0..15 {
            permits.push(stand_ins.enter(later, true).await.unwrap());
        }
        assert!(stand_ins.enter(later, false).await.is_err(), "who must not wait does not");
        let began = Instant::now();
        assert!(stand_ins.enter(later, true).await.is_err());
        assert_eq!(began.elapsed(), Duration::from_secs(5), "pool.acquire_timeout");
        let (got, ()) = tokio::join!(stand_ins.enter(later, true), async { drop(permits.pop()) });
        assert!(got.is_ok());
        assert_eq!((stand_ins.status().running, stand_ins.status().shed), (15, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait() {
        let stand_ins = stand_ins(0.01);
        let later = Instant::now() + Duration::from_secs(60);
        let _only = stand_ins.enter(later, true).await.unwrap();
        let began = Instant::now();
        let third = async {
            tokio::task::yield_now().await;
            let refused = stand_ins.enter(later, true).await.is_err();
            (refused, began.elapsed())
        };
        let (_, _, third) = tokio::join!(stand_ins.enter(later, true), stand_ins.enter(later, true), third);
        assert_eq!(third, (true, Duration::ZERO));
        assert_eq!(stand_ins.status().waiting, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn none_if_none_is_wanted() {
        let stand_ins = stand_ins(0.0);
        assert!(stand_ins.enter(Instant::now() + Duration::from_secs(60), true).await.is_err());
    }
}
