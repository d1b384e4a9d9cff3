//! The way from a question to an answer: memory, the load of another caller, Redis, and at last the database.

mod keep;
mod remote;

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use self::remote::{Answer, Held, Remote};
use super::fence::Snapshot;
use super::flight::{Landing, Outcome, Role, Shared, Ticket};
use super::l1::Entry;
use super::l2::{Generations, Stored};
use super::method::{Cached, Codec};
use super::store::Cache;
use crate::key::Key;
use crate::position::Position;

/// How often a caller waits for loads that turn out to have begun before an invalidation it must see.
const VAIN_WAITS: u32 = 3;

/// One caller's question.
pub struct Lookup<T, C> {
    pub(super) cache: Arc<Cache>,
    pub(super) method: &'static Cached,
    key: Key,
    /// Where Redis is asked for it, if it is asked at all.
    remote: Option<Remote>,
    pub(super) tags: Vec<String>,
    /// The data must show this position, however the cache knows: the caller was given it by another process.
    token: Option<Position>,
    /// A value that is good still, from a caller that is to load a newer one.
    spare: Option<T>,
    codec: PhantomData<fn() -> C>,
}

/// What to do next.
#[must_use]
pub enum Step<T> {
    /// Return this.
    Hit(T),
    /// Another caller's load failed: this is what it told.
    Failed(Shared),
    /// Read the database, and tell [`Lookup::keep`] or [`Lookup::fail`].
    Load(Box<Load>),
    /// The caller's time is up.
    OutOfTime,
}

/// The duty to read the database.
#[derive(Default)]
pub struct Load {
    ticket: Option<Ticket>,
    snapshot: Snapshot,
    remote: Option<Held>,
    required: Option<Position>,
    primary: bool,
    began: Option<Instant>,
    /// Held while Redis is lost.
    _outage: Option<OwnedSemaphorePermit>,
}

impl Load {
    /// What the node that is read from must have replayed.
    pub fn required(&self) -> Option<Position> {
        self.required
    }

    /// Whether only the primary is sure to have it.
    pub fn needs_primary(&self) -> bool {
        self.primary
    }
}

/// What a load gives to those who waited for it.
struct Landed<T> {
    value: T,
    snapshot: Snapshot,
    position: Option<Position>,
    generations: Option<Generations>,
}

impl<T, C> Lookup<T, C>
where
    T: Clone + Send + Sync + 'static,
    C: Codec<T>,
{
    /// The question for `key`; `name` is the text of a key that the method names itself, `token` what another process gave the caller.
    pub fn new(
        cache: Arc<Cache>,
        method: &'static Cached,
        key: Key,
        name: Option<&str>,
        tags: Vec<String>,
        token: Option<Position>,
    ) -> Self {
        let travels = method.in_redis() && C::TRAVELS;
        let remote = cache.remote().filter(|_| method.strong || travels);
        let remote = remote.map(|layer| Remote::new(layer, method, &key, name, travels));
        Lookup { remote, key, cache, method, tags, token, spare: None, codec: PhantomData }
    }

    /// The same for a caller that has a value already and is to load a newer one.
    #[must_use]
    pub fn refreshing(mut self, spare: T) -> Self {
        self.spare = Some(spare);
        self
    }

    /// Asks everybody but the database, until `deadline`. `locate` asks the primary for its position; it is needed where Redis has
    /// forgotten.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing; a load that this caller was to make is made by another who waits.
    pub async fn next(&mut self, deadline: Instant, locate: impl AsyncFnOnce() -> Option<Position>) -> Step<T> {
        let mut vain = 0;
        loop {
            let snapshot = self.cache.fences.snapshot(&self.tags);
            if let Some(value) = self.proved_in_memory().await {
                return Step::Hit(value);
            }
            let follower = match self.cache.flights.join(self.key.as_ref()) {
                Role::Leader(ticket) => return self.lead(Some(ticket), snapshot, deadline, locate).await,
                Role::Recursive => return self.lead(None, snapshot, deadline, locate).await,
                Role::Follower(follower) => follower,
            };
            if let Some(value) = self.spare.take() {
                return Step::Hit(value);
            }
            if vain == VAIN_WAITS {
                return self.lead(None, snapshot, deadline, locate).await;
            }
            match timeout_at(deadline, follower.wait()).await {
                Err(_) => return Step::OutOfTime,
                Ok(Landing::Lead(ticket)) => {
                    let snapshot = self.cache.fences.snapshot(&self.tags);
                    return self.lead(Some(ticket), snapshot, deadline, locate).await;
                }
                Ok(Landing::Shared(Outcome::Failure(failure))) => return Step::Failed(failure),
                Ok(Landing::Shared(Outcome::Value(landed))) => {
                    if let Some(value) = self.acceptable(&landed, &snapshot).await {
                        self.cache.counts.shared_loads.fetch_add(1, Ordering::Relaxed);
                        return Step::Hit(value);
                    }
                    vain += 1;
                }
            }
        }
    }

    /// Whether a value in this process is served only after Redis said that it is current.
    fn is_proved_by_redis(&self) -> bool {
        self.method.strong && self.remote.is_some()
    }

    /// A value in memory, for a caller that does not take it on trust.
    async fn proved_in_memory(&self) -> Option<T> {
        let distrusts = self.is_proved_by_redis() || self.token.is_some();
        if !distrusts || self.spare.is_some() || !self.method.in_memory() {
            return None;
        }
        let entry = self.cache.l1.entry(self.key.as_ref())?;
        let generations = entry.remote().and_then(|remote| remote.downcast_ref::<Generations>());
        let good = self.suits(entry.position(), generations).await;
        // What was invalidated while Redis was asked is not served.
        let good = good && entry.snapshot().holds(&self.cache.fences);
        good.then(|| entry.value::<T>().cloned()).flatten()
    }

    /// Another caller's result, unless it may be from before something that this caller must see.
    async fn acceptable(&self, landed: &Shared, snapshot: &Snapshot) -> Option<T> {
        let landed = (**landed).downcast_ref::<Landed<T>>()?;
        // Its load began before this caller asked: something may have been invalidated between the two.
        let good = landed.snapshot == *snapshot && self.suits(landed.position, landed.generations.as_ref()).await;
        good.then(|| landed.value.clone())
    }

    /// Whether data read at `position` shows what the caller was given.
    fn shows_token(&self, position: Option<Position>) -> bool {
        self.token.is_none_or(|token| position.is_some_and(|position| position.covers(token)))
    }

    /// Whether data read at `position`, under `generations`, is new enough for this caller.
    async fn suits(&self, position: Option<Position>, generations: Option<&Generations>) -> bool {
        match &self.remote {
            _ if !self.shows_token(position) => false,
            Some(remote) if self.method.strong => match generations {
                Some(generations) => remote.layer.check(&self.tags, generations).await.unwrap_or(false),
                None => false,
            },
            _ => true,
        }
    }

    async fn lead(
        &mut self,
        ticket: Option<Ticket>,
        snapshot: Snapshot,
        deadline: Instant,
        locate: impl AsyncFnOnce() -> Option<Position>,
    ) -> Step<T> {
        let trusting = !self.method.strong && self.token.is_none() && self.spare.is_none();
        if trusting
            && self.method.in_memory()
            && let Some(entry) = self.cache.l1.entry(self.key.as_ref())
            && let Some(value) = entry.value::<T>().cloned()
        {
            // Another caller's load landed between this one's look into memory and now.
            self.land(ticket, &value, entry.snapshot().clone(), entry.position(), remote_of(&entry));
            return Step::Hit(value);
        }
        let mut required = self.cache.fences.required(&self.tags);
        let mut load = Load { ticket, snapshot, ..Load::default() };
        if let Some(remote) = &self.remote {
            let answer = remote.ask(self.question(deadline), locate).await;
            if remote.travels {
                self.cache.counts.redis.one(self.method.op.id(), kind(&answer));
            }
            match answer {
                Ok(Answer::Found(stored, value)) => {
                    let Stored { position, generations, remaining, .. } = *stored;
                    if self.method.in_memory() {
                        let fill = self.fill(value.clone(), load.snapshot.clone(), position, Some(&generations));
                        self.cache.l1.insert(self.key.clone(), fill.at_most(remaining));
                    }
                    self.land(load.ticket, &value, load.snapshot, position, Some(generations));
                    return Step::Hit(value);
                }
                Ok(Answer::Begun { fill, vouched }) => {
                    required = Position::later(required, fill.required);
                    load.remote = Some(Held::new(remote.clone(), fill.ticket));
                    load.primary = self.method.strong && !vouched;
                }
                // Without Redis nobody here knows what other instances have written.
                Ok(Answer::Forgotten) => load.primary = self.method.strong,
                Err(_) => match timeout_at(deadline, self.cache.outage.clone().acquire_owned()).await {
                    Ok(permit) => {
                        load._outage = permit.ok();
                        load.primary = self.method.strong;
                    }
                    Err(_) => return Step::OutOfTime,
                },
            }
        }
        load.required = Position::later(required, self.token);
        load.primary |= self.cache.reads_primary();
        load.began = Some(Instant::now());
        self.cache.counts.loads.fetch_add(1, Ordering::Relaxed);
        Step::Load(Box::new(load))
    }

    /// A load of this caller's own, which nobody else waits for.
    pub fn apart(&self) -> Box<Load> {
        self.cache.counts.loads.fetch_add(1, Ordering::Relaxed);
        Box::new(Load {
            snapshot: self.cache.fences.snapshot(&self.tags),
            required: Position::later(self.cache.fences.required(&self.tags), self.token),
            // Nobody was asked what other instances have written.
            primary: self.cache.reads_primary() || self.is_proved_by_redis(),
            began: Some(Instant::now()),
            ..Load::default()
        })
    }

    /// What is left of an answer that a failed load may be replaced by: one that is good still, or expired not too long ago.
    pub fn stand_in(&mut self) -> Option<T> {
        if let Some(spare) = self.spare.take() {
            return Some(spare);
        }
        self.method.stale_if_error?;
        let entry = self.cache.l1.stale(self.key.as_ref())?;
        if !self.shows_token(entry.position()) || self.method.strong {
            return None;
        }
        self.cache.counts.stale_served.fetch_add(1, Ordering::Relaxed);
        entry.value::<T>().cloned()
    }
}

/// The place of an answer among the counters of look-ups in Redis.
fn kind<T>(answer: &Result<Answer<T>, super::l2::Error>) -> usize {
    match answer {
        Ok(Answer::Found(..)) => 0,
        Ok(Answer::Begun { .. } | Answer::Forgotten) => 1,
        Err(_) => 2,
    }
}

fn remote_of(entry: &Entry) -> Option<Generations> {
    entry.remote().and_then(|remote| remote.downcast_ref::<Generations>()).cloned()
}
