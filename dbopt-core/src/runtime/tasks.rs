//! All background loops of an instance start here, and end with it.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::Instrument;

use super::Runtime;
use super::insight::Planner;
use crate::backend::Backend;
use crate::cluster::{Follower, HostWatcher, Watcher};

/// The running loops.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<Vec<AbortHandle>>);

impl Tasks {
    pub(super) fn stop(&self) {
        for task in self.0.lock().drain(..) {
            task.abort();
        }
    }

    /// Runs something that ends, or is stopped with everything else.
    pub(super) fn spawn_once(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.0.lock();
        running.retain(|task| !task.is_finished());
        running.push(tokio::spawn(work.instrument(tracing::info_span!("dbopt", task = name))).abort_handle());
    }

    /// Runs a loop that should never end; if it does, by a panic, that is said.
    pub(super) fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(work.instrument(tracing::info_span!("dbopt", task = name)));
        self.0.lock().push(task.abort_handle());
        tokio::spawn(async move {
            if let Err(end) = task.await
                && end.is_panic()
            {
                tracing::error!(task = name, "a background task panicked; this is a bug in dbopt: {end}");
            }
        });
    }
}

/// How often the pools are looked after: often enough that the shortest of their times is kept to a quarter.
fn tick<B: Backend>(runtime: &Runtime<B>) -> Duration {
    (runtime.config.pool.idle_timeout / 8).clamp(Duration::from_millis(20), Duration::from_secs(1))
}

pub(super) fn start<B: Backend>(
    runtime: &Arc<Runtime<B>>,
    (watchers, follower): (Vec<Watcher<B>>, Option<Follower>),
    hosts: Vec<HostWatcher<B>>,
    planner: Planner<B>,
) {
    for watcher in watchers {
        runtime.tasks.spawn("watch a node", watcher.run());
    }
    if let Some(follower) = follower {
        runtime.tasks.spawn("follow Patroni", follower.run());
    }
    for watcher in hosts {
        runtime.tasks.spawn("watch a node's machine", watcher.run());
    }
    let rooms = [runtime.cache.tasks(), runtime.limiter.tasks(), runtime.alerting.tasks(), runtime.insight.tasks()];
    for (name, work) in rooms.into_iter().flatten() {
        runtime.tasks.spawn(name, work);
    }
    if runtime.config.cache.outbox {
        runtime.tasks.spawn("look after the outbox", super::outbox::look_after(Arc::downgrade(runtime)));
    }
    if runtime.alerting.is_enabled() {
        let watching = super::alerts::watch(Arc::downgrade(runtime), runtime.alerting.clone());
        runtime.tasks.spawn("watch for alerts", watching);
    }
    if let Some(discovery) = &runtime.discovery {
        let looking = super::discovery::look_again(Arc::downgrade(runtime), discovery.clone());
        runtime.tasks.spawn("look up nodes", looking);
    }
    runtime.tasks.spawn("take samples", super::history::watch(Arc::downgrade(runtime)));
    if runtime.insight.is_enabled() {
        runtime.tasks.spawn("look at statements", super::insight::look_after(Arc::downgrade(runtime)));
        runtime.tasks.spawn("ask for plans", planner.run());
    }
    if runtime.is_advised() {
        let every = runtime.config.insight.index_advice;
        runtime.tasks.spawn("look for missing indexes", super::advice::look_again(Arc::downgrade(runtime), every));
    }
    runtime.tasks.spawn("note events", super::events::watch(Arc::downgrade(runtime)));
    runtime.tasks.spawn("look after the pools", look_after_pools(Arc::downgrade(runtime), tick(runtime)));
    let balancing = super::balancing::look_again(Arc::downgrade(runtime), runtime.cluster.changes());
    runtime.tasks.spawn("balance reads", balancing);
    runtime.tasks.spawn("share the budget", share_on_change(Arc::downgrade(runtime), runtime.cluster.changes()));
}

async fn look_after_pools<B: Backend>(runtime: Weak<Runtime<B>>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut crowded = false;
    loop {
        ticks.tick().await;
        let Some(runtime) = runtime.upgrade() else { return };
        runtime.maintain();
        crowded = runtime.watch_utilisation(crowded);
    }
}

async fn share_on_change<B: Backend>(runtime: Weak<Runtime<B>>, mut changes: tokio::sync::watch::Receiver<u64>) {
    while changes.changed().await.is_ok() {
        let Some(runtime) = runtime.upgrade() else { return };
        runtime.share_budget();
    }
}

impl<B: Backend> Runtime<B> {
    /// Warns at the start that there are fewer replicas than there should be (2.2); what comes later is the alert's business.
    pub(super) fn warn_of_few_replicas(&self) {
        if let Some(warning) = self.few_replicas() {
            tracing::warn!("{warning}");
        }
    }

    /// Why there are too few replicas, if there are.
    pub(super) fn few_replicas(&self) -> Option<String> {
        let (serving, wanted) = (self.cluster.topology().serving_replicas(), self.config.alerts.replicas.minimum);
        let noun = if serving == 1 { "replica" } else { "replicas" };
        (serving < wanted).then(|| {
            format!(
                "{serving} healthy {noun}, and there should be {wanted}: add servers to [database], or lower \
                 alerts.replicas.minimum if that is what you want"
            )
        })
    }

    /// Warns when too many connections are in use (4.3), once until it is ten points better.
    fn watch_utilisation(&self, was_crowded: bool) -> bool {
        let in_use = self.in_use();
        let share = in_use as f64 / self.budget.max() as f64;
        let limit = self.config.pool.utilisation_warning;
        if !was_crowded && share > limit {
            tracing::warn!(
                in_use,
                max = self.budget.max(),
                utilisation = format!("{:.0} %", share * 100.0),
                "the connection pool is nearly exhausted: raise pool.max, or look for slow statements"
            );
            return true;
        }
        if was_crowded && share < limit - 0.1 {
            tracing::info!(in_use, max = self.budget.max(), "the connection pool has room again");
            return false;
        }
        was_crowded
    }
}
