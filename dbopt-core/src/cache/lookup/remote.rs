//! A question to Redis, and the right to answer it for others.

use std::marker::PhantomData;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::Lookup;
use crate::cache::l2::{self, Begun, Generations, Stored};
use crate::cache::method::{Cached, Codec};
use crate::key::Key;
use crate::position::Position;

/// The key in Redis.
#[derive(Clone)]
pub(super) struct Remote {
    pub(super) layer: l2::Layer,
    pub(super) name: l2::Key,
    /// Whether values are there, or only what proves those in memory.
    pub(super) travels: bool,
}

/// What one caller wants of it.
pub(super) struct Question<'a, T, C> {
    tags: &'a [String],
    strong: bool,
    token: Option<Position>,
    /// Whether the caller has a value, and wants none that is stored.
    refreshes: bool,
    ttl: Duration,
    /// How long to wait for another instance's load.
    patience: Duration,
    types: PhantomData<fn() -> (T, C)>,
}

/// What Redis said.
pub(super) enum Answer<T> {
    /// Here it is.
    Found(Box<Stored>, T),
    /// Nothing: load, and store under this ticket. `vouched`: the fill knows the position of every write that a strong reader must see.
    Begun { fill: l2::Fill, vouched: bool },
    /// It cannot say what a load must have seen: load and do not store.
    Forgotten,
}

impl<T, C> Lookup<T, C>
where
    T: Clone + Send + Sync + 'static,
    C: Codec<T>,
{
    pub(super) fn question(&self, deadline: Instant) -> Question<'_, T, C> {
        let left = deadline.duration_since(Instant::now());
        Question {
            tags: &self.tags,
            strong: self.method.strong,
            token: self.token,
            refreshes: self.spare.is_some(),
            ttl: self.ttl(),
            patience: self.cache.config.fill_lease.min(left / 2),
            types: PhantomData,
        }
    }
}

impl<T, C: Codec<T>> Question<'_, T, C> {
    fn read(&self, found: Option<Stored>) -> Option<Answer<T>> {
        let stored = found?;
        let shown = |token: Position| stored.position.is_some_and(|position| position.covers(token));
        if !self.token.is_none_or(shown) {
            return None;
        }
        let value = C::decode(&stored.payload)?;
        Some(Answer::Found(Box::new(stored), value))
    }
}

impl Remote {
    pub(super) fn new(layer: &l2::Layer, method: &Cached, key: &Key, name: Option<&str>, travels: bool) -> Self {
        let of_method = method.op.name();
        let name = match name {
            Some(text) => l2::Key::explicit(text),
            None => l2::Key::hashed(of_method, key.stable_hash128(of_method), key.as_ref().bytes),
        };
        Remote { layer: layer.clone(), name, travels }
    }

    pub(super) async fn ask<T, C: Codec<T>>(
        &self,
        question: Question<'_, T, C>,
        locate: impl AsyncFnOnce() -> Option<Position>,
    ) -> Result<Answer<T>, l2::Error> {
        let Question { tags, strong, ttl, .. } = question;
        let (l2, travels) = (&self.layer, self.travels);
        let looks = travels && !question.refreshes;
        let mut vouched = false;
        if looks {
            let (found, heard) = l2.look_up_vouched(&self.name, tags, C::shape(), strong).await?;
            vouched = heard;
            if let Some(found) = question.read(found) {
                return Ok(found);
            }
        } else if strong {
            // Before the fill begins: what a writer delivers afterwards was not acknowledged before this call.
            vouched = l2.vouched().await?;
        }
        let mut begun = l2.begin(&self.name, tags, ttl, travels, None).await?;
        if let Begun::NeedsPosition(proof) = &begun {
            let proof = proof.clone();
            let Some(position) = locate().await else { return Ok(Answer::Forgotten) };
            begun = l2.begin(&self.name, tags, ttl, travels, Some((&proof, position))).await?;
        }
        let Begun::Ready(fill) = begun else { return Ok(Answer::Forgotten) };
        if looks && !fill.leader {
            let found = l2.wait_filled(&self.name, tags, C::shape(), strong, question.patience).await?;
            if let Some(found) = question.read(found) {
                return Ok(found);
            }
            // The other instance gave up: this one loads, under the generations of now.
            if let Begun::Ready(again) = l2.begin(&self.name, tags, ttl, true, None).await? {
                return Ok(Answer::Begun { fill: again, vouched });
            }
        }
        Ok(Answer::Begun { fill, vouched })
    }
}

/// The right to store a result in Redis. Given back when it is dropped unused, so that nobody waits for a caller who went away.
pub(super) struct Held {
    pub(super) remote: Remote,
    ticket: Option<l2::Ticket>,
}

impl Held {
    pub(super) fn new(remote: Remote, ticket: l2::Ticket) -> Self {
        Held { remote, ticket: Some(ticket) }
    }

    pub(super) fn generations(&self) -> Option<Generations> {
        self.ticket.as_ref().map(|ticket| ticket.generations().clone())
    }

    /// Makes use of it.
    pub(super) fn take(mut self) -> Option<(Remote, l2::Ticket)> {
        self.ticket.take().map(|ticket| (self.remote.clone(), ticket))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let (Some(ticket), Ok(runtime)) = (self.ticket.take(), Handle::try_current()) {
            let Remote { layer, name, .. } = self.remote.clone();
            runtime.spawn(async move { layer.abandon(&name, &ticket).await });
        }
    }
}
