//! Invalidating: now if Redis answers, otherwise from the journal until it does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::clock::millis;
use super::events::Message;
use super::fill::LEAST_LIFE;
use super::journal::Delivery;
use super::layer::{Inner, Layer};
use super::ticket::{Generations, Invalidated, Ticket, position_text, read_epoch, read_generation};
use super::{Error, scripts};
use crate::breaker::{Backoff, BackoffPolicy};
use crate::position::Position;
use crate::random;

const RETRY: BackoffPolicy = BackoffPolicy { initial: Duration::from_millis(50), max: Duration::from_secs(2) };
/// Tags in one script; Redis serves nobody else meanwhile.
const TOGETHER: usize = 500;

/// An invalidation that Redis may not have heard of. It waits in the journal.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the invalidation waits to be delivered: {cause}")]
pub struct Missed {
    /// Why.
    #[source]
    pub cause: Error,
    /// By when strong readers on all instances are sure to distrust the cache; a write that promises strong consistency is
    /// acknowledged then. `None`: this instance is
    /// [`Unregistered`](super::Standing::Unregistered), and nothing makes them.
    pub silenced_by: Option<Instant>,
}

impl Layer {
    /// Makes everything with one of these tags a miss, on all instances, from when this returns `Ok`. `position` is what the
    /// write committed at; fills will read only from where it is visible. `lower`, for a write-through: the position its
    /// data was read at.
    ///
    /// # Errors
    /// [`Missed`]: it waits in the journal. Until it is delivered, this instance serves nothing with these tags from here, and
    /// no longer vouches as a writer.
    ///
    /// # Cancel safety
    /// When dropped it goes to the journal.
    pub async fn invalidate(
        &self,
        tags: &[String],
        position: Option<Position>,
        lower: Option<Position>,
    ) -> Result<Invalidated, Missed> {
        let mut pending = Pending { inner: &self.inner, what: What::Tags(tags), position, armed: true };
        let result = self.inner.send(tags, position, lower, false).await;
        pending.armed = false;
        result.map_err(|cause| Missed { cause, silenced_by: pending.keep() })
    }
}

/// Puts an invalidation into the journal when its caller goes away before its end.
pub(super) struct Pending<'a> {
    pub(super) inner: &'a Inner,
    pub(super) what: What<'a>,
    pub(super) position: Option<Position>,
    pub(super) armed: bool,
}

pub(super) enum What<'a> {
    Tags(&'a [String]),
    Everything,
}

impl Pending<'_> {
    pub(super) fn keep(&self) -> Option<Instant> {
        let inner = self.inner;
        inner.counters.journalled.one();
        let first = {
            let mut journal = inner.journal.lock();
            let first = journal.len() == 0;
            match self.what {
                What::Tags(tags) => journal.add(tags, self.position),
                What::Everything => journal.add_everything(self.position),
            }
            first
        };
        if first {
            tracing::warn!(target: "dbopt::cache", "an invalidation could not be delivered to Redis; it will be retried");
        }
        let silenced_by = inner.writers.silence();
        inner.journal_filled.notify_one();
        silenced_by
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.keep();
        }
    }
}

impl Inner {
    /// One script; from the journal (`again`) also while calls are refused.
    pub(super) async fn send(
        &self,
        tags: &[String],
        position: Option<Position>,
        lower: Option<Position>,
        again: bool,
    ) -> Result<Invalidated, Error> {
        let names: Vec<String> = tags.iter().map(|tag| self.names.generation(tag)).collect();
        let mut keys = vec![self.names.epoch.as_str()];
        keys.extend(names.iter().map(String::as_str));
        let (position_text, lower) = (position_text(position), position_text(lower));
        let life = millis((2 * self.config.ttl).max(LEAST_LIFE)).to_string();
        let reliable = if self.link.is_reliable() { "1" } else { "0" };
        let message = Message::tags(self.instance, tags, position);
        let events = self.names.events.as_bytes();
        let arguments =
            [position_text.as_bytes(), lower.as_bytes(), life.as_bytes(), reliable.as_bytes(), events, &message];
        let script = if self.link.is_modern() { &scripts::INVALIDATE_WHEN_FULL } else { &scripts::INVALIDATE };
        let reply: Result<Vec<String>, Error> = if again {
            let budget = self.config.connect_timeout;
            timeout(budget, self.run_always(script, &keys, &arguments)).await.unwrap_or(Err(Error::TimedOut))
        } else {
            self.run(script, &keys, &arguments, self.config.write_timeout).await
        };
        let reply = reply?;
        self.counters.invalidated.one();
        let [epoch, sweep, alone, generations @ ..] = reply.as_slice() else {
            return Err(Error::Server("an invalidation was answered with too little".to_owned()));
        };
        let epoch = read_epoch(epoch.as_bytes());
        self.link.compare(epoch);
        let list = generations.iter().filter_map(|number| read_generation(number.as_bytes())).collect();
        // No epoch: a number that no epoch has, so that nothing is stored with this ticket.
        let generations = Generations { epoch: epoch.unwrap_or_else(random::number), list };
        let ticket = Ticket { generations, sweep: sweep.parse().unwrap_or_default(), lease: None };
        Ok(Invalidated { ticket, alone: alone == "1" })
    }

    /// Begins a new epoch: nothing from before counts.
    pub(super) async fn begin_epoch(&self, position: Option<Position>, budget: Duration) -> Result<(), Error> {
        let epoch = random::number();
        let message = Message::cleared(self.instance, epoch);
        let (text, position) = (format!("{epoch:016x}"), position_text(position));
        let arguments = [text.as_bytes(), position.as_bytes(), self.names.events.as_bytes(), &message];
        let keys = [self.names.epoch.as_str()];
        let clear = self.run_always::<i64>(&scripts::CLEAR, &keys, &arguments);
        timeout(budget, clear).await.unwrap_or(Err(Error::TimedOut))?;
        self.link.know_epoch(epoch);
        Ok(())
    }
}

/// Delivers what the journal holds until the layer is shut down.
pub(super) async fn deliver(inner: Arc<Inner>) {
    tokio::select! {
        () = inner.closed() => {}
        () = keep_delivering(&inner) => {}
    }
}

async fn keep_delivering(inner: &Inner) {
    let mut backoff = Backoff::default();
    loop {
        let delivery = inner.journal.lock().next(TOGETHER);
        let Some(delivery) = delivery else {
            inner.resume();
            inner.journal_filled.notified().await;
            continue;
        };
        let result = match &delivery {
            Delivery::Tags { tags, position, .. } => inner.send(tags, *position, None, true).await.map(drop),
            Delivery::Everything { position, .. } => inner.begin_epoch(*position, inner.config.connect_timeout).await,
        };
        match result {
            Ok(()) => {
                inner.journal.lock().delivered(&delivery);
                backoff.reset();
            }
            Err(error) => {
                tracing::debug!(target: "dbopt::cache", %error, "invalidations still wait to be delivered");
                let wait = backoff.failed(RETRY, Instant::now(), random::fraction());
                // A new failure is no reason to try sooner; a shutdown's nudge is.
                tokio::select! {
                    () = sleep(wait) => {}
                    () = inner.journal_filled.notified() => sleep(wait.min(RETRY.initial)).await,
                }
            }
        }
    }
}
