//! What becomes of a load: kept in memory and in Redis, and given to those who wait.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::Instrument;

use super::remote::Held;
use super::{Landed, Load, Lookup};
use crate::cache::fence::Snapshot;
use crate::cache::flight::{Shared, Ticket};
use crate::cache::l1::Fill;
use crate::cache::l2::{Generations, Invalidated};
use crate::cache::method::Codec;
use crate::position::Position;

impl<T, C> Lookup<T, C>
where
    T: Clone + Send + Sync + 'static,
    C: Codec<T>,
{
    /// Keeps what was read, and gives it to those who wait. `position` is what the node showed that it was read from.
    pub fn keep(&self, load: Load, value: &T, position: Option<Position>, is_none: bool) {
        let Load { ticket, snapshot, remote, began, .. } = load;
        if let Some(began) = began {
            let micros = began.elapsed().as_micros() as u64;
            self.cache.counts.loading_micros.fetch_add(micros, Ordering::Relaxed);
        }
        let generations = remote.as_ref().and_then(Held::generations);
        let none_ttl = self.cache.config.none_ttl;
        if is_none && self.method.without_none {
            drop(remote);
        } else {
            let longest = if is_none { none_ttl } else { Duration::MAX };
            let weight = remote.map_or(0, |held| self.send(held, value, position, self.ttl().min(longest)));
            if self.method.in_memory() {
                let mut fill = self.fill(value.clone(), snapshot.clone(), position, generations.as_ref());
                fill.bytes = weight;
                self.cache.l1.insert(self.key.clone(), fill.at_most(longest));
            }
        }
        self.land(ticket, value, snapshot, position, generations);
    }

    /// Keeps what a write has committed, under the snapshot and the answer of Redis that its own invalidation gave.
    pub(in crate::cache) fn keep_written(
        &self,
        value: &T,
        snapshot: Snapshot,
        done: Option<Invalidated>,
        position: Option<Position>,
        is_none: bool,
    ) {
        let remote = match (self.cache.remote(), done) {
            (None, _) => None,
            (Some(_), Some(done)) if done.alone => self.remote.clone().map(|remote| Held::new(remote, done.ticket)),
            // Another instance's write counts too.
            (Some(_), _) => return,
        };
        self.keep(Load { snapshot, remote, ..Load::default() }, value, position, is_none);
    }

    /// Tells those who wait that it failed.
    pub fn fail(&self, load: Load, told: Shared) {
        let Load { ticket, remote, .. } = load;
        drop(remote);
        if let Some(ticket) = ticket {
            ticket.fail(told);
        }
    }

    /// Stores in the background: the caller has its answer. Returns how many bytes the value takes.
    fn send(&self, held: Held, value: &T, position: Option<Position>, ttl: Duration) -> usize {
        let Some(payload) = held.remote.travels.then(|| C::encode(value)).flatten() else { return 0 };
        let weight = payload.len();
        let Ok(room) = self.cache.stores.clone().try_acquire_owned() else { return weight };
        let Some((remote, ticket)) = held.take() else { return weight };
        let tags = self.tags.clone();
        let store = async move {
            let stored = remote.layer.store(&remote.name, &tags, &ticket, C::shape(), &payload, position, ttl).await;
            if let Err(error) = stored {
                tracing::debug!(%error, "a result was not stored in Redis");
            }
            drop(room);
        };
        tokio::spawn(store.in_current_span());
        weight
    }

    pub(super) fn fill(
        &self,
        value: T,
        snapshot: Snapshot,
        position: Option<Position>,
        generations: Option<&Generations>,
    ) -> Fill<T> {
        let (method, config) = (self.method, &self.cache.config);
        let ttl = method.l1_ttl.unwrap_or(config.l1_ttl).min(self.ttl());
        let tags = self.tags.iter().map(|tag| Arc::from(tag.as_str())).collect();
        let mut fill = Fill::new(value, tags, snapshot);
        fill.position = position;
        fill.remote = generations.map(|generations| Arc::new(generations.clone()) as Arc<dyn Any + Send + Sync>);
        fill.ttl = Some(ttl);
        fill.stale_for = method.stale_if_error.unwrap_or_default();
        fill.refresh_ahead = method.refresh_ahead.map(|share| ttl.mul_f64(1.0 - share));
        let missing = self.cache.remote().is_some_and(|l2| l2.holds(&self.tags));
        if missing || !self.cache.hears.load(Ordering::Acquire) {
            fill = fill.at_most(config.untrusted_ttl);
        }
        fill
    }

    pub(super) fn ttl(&self) -> Duration {
        self.method.ttl.unwrap_or(self.cache.config.ttl)
    }

    pub(super) fn land(
        &self,
        ticket: Option<Ticket>,
        value: &T,
        snapshot: Snapshot,
        position: Option<Position>,
        generations: Option<Generations>,
    ) {
        if let Some(ticket) = ticket {
            ticket.succeed(Arc::new(Landed { value: value.clone(), snapshot, position, generations }));
        }
    }
}
