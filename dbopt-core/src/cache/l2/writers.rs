//! Leases of the writers, which is what lets a strong read believe a cache that a writer could not reach.
//!
//! Every instance that writes keeps an entry in a sorted set: until when, on Redis' clock, it may be trusted to have delivered
//! its invalidations. A strong read looks at the earliest of them, and then at the generations, in this order; an expired
//! lease makes it go to the database.
//!
//! Why that is enough. A writer acknowledges a write in one of two states. Either the invalidation was delivered: whoever asks
//! afterwards sees new generations. Or it was not: then the writer stopped renewing, and acknowledges only after
//! [`silence`](super::Layer::silence)'s instant, when its lease has expired. It renews again only after everything was delivered.
//! So a read that starts after the acknowledgement and finds the lease alive looks at the generations after the delivery.
//!
//! A renewal names an absolute expiry, from a reading of Redis' clock plus the local time since *before* that reading: what a frozen
//! Redis executes late cannot make the lease longer than its sender counted on. The instant adds the doubt of the reading and a
//! margin for clocks of different speed. The assumption is that Redis' clock is not set back by more than that margin.
//!
//! A writer that is gone for good would make all strong reads miss, so after `forget_after` it is removed together with a new
//! epoch, under which nothing from before counts. A Redis that lost its data does not know its writers: it gets a writer that
//! has long expired (`!lost`), which is forgotten after `settle`; by then every writer has either registered again or knows itself
//! [`Unregistered`](Standing::Unregistered).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::time::{Instant, sleep, timeout};

use super::clock::millis;
use super::events::{Event, Message};
use super::layer::Inner;
use super::names::Names;
use super::ticket::read_epoch;
use super::{Config, Error, link, scripts};
use crate::random;

/// What readers know of this writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Readers trust it: its invalidations must arrive before its writes are acknowledged.
    Registered,
    /// Readers distrust the cache because of it, at the latest from this instant.
    Silent(Instant),
    /// Redis may not know it: nothing makes readers distrust the cache when its invalidations fail.
    Unregistered,
}

pub(super) struct Writers {
    lease: Duration,
    settle: Duration,
    state: Mutex<State>,
    /// When the earliest lease that was seen had expired, on Redis' clock; 0 when none.
    expired: AtomicU64,
}

#[derive(Default)]
struct State {
    silent: bool,
    /// By when the last renewal that was sent has certainly expired.
    until: Option<Instant>,
    /// When the last renewal that was answered had been sent.
    acknowledged: Option<Instant>,
}

impl Writers {
    pub(super) fn new(config: &Config) -> Self {
        let (lease, settle) = (config.writer_lease, config.settle);
        Self { lease, settle, state: Mutex::default(), expired: AtomicU64::new(0) }
    }

    /// Stops renewing; returns by when readers are sure to distrust.
    pub(super) fn silence(&self) -> Option<Instant> {
        self.state.lock().silent = true;
        match self.standing(Instant::now()) {
            Standing::Silent(until) => Some(until),
            _ => None,
        }
    }

    /// Renews again, unless something is still undelivered.
    pub(super) fn resume(&self, delivered: impl FnOnce() -> bool) {
        let mut state = self.state.lock();
        // Inside the lock: whoever fails to deliver notes that first and is silent second.
        if state.silent && delivered() {
            state.silent = false;
        }
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        let state = self.state.lock();
        match (state.acknowledged, state.until) {
            (Some(sent), Some(until)) if now.saturating_duration_since(sent) < self.settle => {
                if state.silent {
                    Standing::Silent(until)
                } else {
                    Standing::Registered
                }
            }
            _ => Standing::Unregistered,
        }
    }
}

impl super::Layer {
    /// What readers know of this instance as a writer.
    pub fn standing(&self) -> Standing {
        self.inner.writers.standing(Instant::now())
    }

    /// Stops vouching for this instance's writes; returns by when every strong read is sure to distrust the cache (`None`: it is
    /// [`Unregistered`](Standing::Unregistered)). A failed invalidation does this by itself; it ends when the journal is empty.
    pub fn silence(&self) -> Option<Instant> {
        self.inner.writers.silence()
    }

    /// Vouches again, if nothing waits in the journal.
    pub fn resume(&self) {
        self.inner.resume();
    }
}

impl Inner {
    pub(super) fn resume(&self) {
        self.writers.resume(|| self.journal.lock().len() == 0);
    }

    fn member(&self) -> String {
        format!("{:016x}", self.instance)
    }
}

/// Renews this instance's lease until the layer is shut down.
pub(super) async fn run(inner: Arc<Inner>) {
    let renewals = async {
        loop {
            renew(&inner).await;
            sleep(inner.config.writer_lease.mul_f64(0.3)).await;
        }
    };
    tokio::select! {
        () = inner.closed() => {}
        () = renewals => {}
    }
}

async fn renew(inner: &Inner) {
    if let Some(mut connection) = inner.link.connection() {
        vouch(inner, &mut connection).await;
    }
}

/// Sends one renewal. The first one goes before an instance counts as connected, so that it never writes as somebody whom readers do not know.
pub(super) async fn vouch(inner: &Inner, connection: &mut MultiplexedConnection) {
    let Some(reading) = inner.link.reading() else { return };
    let (writers, sent) = (&inner.writers, Instant::now());
    {
        let mut state = writers.state.lock();
        if state.silent {
            return;
        }
        let until = sent + writers.lease + reading.doubt() + writers.lease / 10 + Duration::from_millis(5);
        state.until = state.until.max(Some(until));
    }
    let expiry = (reading.latest(sent) + millis(writers.lease)).to_string();
    let (member, lease) = (inner.member(), millis(writers.lease).to_string());
    let arguments = [member.as_bytes(), expiry.as_bytes(), lease.as_bytes()];
    let keys = [inner.names.writers.as_str()];
    let renewal = link::invoke::<i64>(connection, &scripts::RENEW, &keys, &arguments);
    match timeout(writers.lease, renewal).await {
        Ok(Ok(1)) => writers.state.lock().acknowledged = Some(sent),
        Ok(Ok(-1)) => inner.link.look_again.notify_one(),
        // Late or refused: the lease expires, which is what it is for.
        _ => {}
    }
}

/// Takes this instance's entry away: everything it wrote was delivered.
pub(super) async fn leave(inner: &Inner) {
    inner.writers.silence();
    let Some(mut connection) = inner.link.connection() else { return };
    let mut command = redis::cmd("ZREM");
    command.arg(&inner.names.writers).arg(inner.member());
    // Otherwise it expires and is forgotten.
    let _ = timeout(inner.config.write_timeout, command.exec_async(&mut connection)).await;
}

/// What a strong look-up asks before it looks at generations.
pub(super) fn ask<'a>(pipeline: &'a mut Pipeline, names: &Names) -> &'a mut Pipeline {
    pipeline.cmd("TIME").cmd("ZRANGE").arg(&names.writers).arg(0).arg(0).arg("WITHSCORES")
}

/// Whether no writer's lease had expired.
pub(super) fn judge(inner: &Inner, time: Option<Value>, first: Option<Value>) -> bool {
    let now = time.and_then(|time| redis::from_redis_value::<(u64, u64)>(time).ok());
    let Some((seconds, micros)) = now else { return false };
    let now = seconds * 1000 + micros / 1000;
    let Some(earliest) = first.and_then(score) else {
        // Without even the set's own mark it was evicted, and with it who knows whom.
        inner.link.look_again.notify_one();
        return false;
    };
    if earliest > now as f64 {
        return true;
    }
    inner.writers.expired.store(earliest.max(1.0) as u64, Relaxed);
    false
}

/// The score in the answer to `ZRANGE .. WITHSCORES`, which has two forms.
fn score(answer: Value) -> Option<f64> {
    match answer {
        Value::Array(mut items) => match items.pop()? {
            pair @ Value::Array(_) => score(pair),
            number => redis::from_redis_value(number).ok(),
        },
        _ => None,
    }
}

/// Forgets writers that have been silent for long, if a look-up met one.
pub(super) async fn forget(inner: &Inner, connection: &mut MultiplexedConnection) -> Result<(), Error> {
    let after = millis(inner.config.forget_after);
    let expired = inner.writers.expired.swap(0, Relaxed);
    if expired == 0 {
        return Ok(());
    }
    if inner.link.now_ms().saturating_sub(expired) <= after {
        return Ok(());
    }
    let epoch = random::id();
    let number = read_epoch(epoch.as_bytes()).unwrap_or_default();
    let message = Message::cleared(inner.instance, number);
    let after = after.to_string();
    let names = &inner.names;
    let keys = [names.epoch.as_str(), names.writers.as_str()];
    let arguments = [after.as_bytes(), epoch.as_bytes(), names.events.as_bytes(), &message];
    let gone: u64 = link::invoke(connection, &scripts::FORGET, &keys, &arguments).await?;
    if gone > 0 {
        inner.counters.forgotten.add(gone);
        inner.link.know_epoch(number);
        inner.tell(Event::Cleared);
        tracing::info!(target: "dbopt::cache", gone, "writers that were not heard of for long are forgotten");
    }
    Ok(())
}
