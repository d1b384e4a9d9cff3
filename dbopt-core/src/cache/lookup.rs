//! The way from a question to an answer: memory, the load of another caller, Redis, and at last the database.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use super::fence::Snapshot;
use super::flight::{Landing, Outcome, Role, Shared, Ticket};
use super::l1::{Entry, Fill};
use super::l2::{self, Begun, Generations, Stored};
use super::method::{Cached, Codec};
use super::store::{Cache, Written};
use crate::key::{Key, KeyRef};
use crate::position::Position;

/// How often a caller waits for loads that turn out to have begun before an invalidation it must see.
const VAIN_WAITS: u32 = 3;

/// What a caller may be given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needs {
    /// The data must show this position, however the cache knows: the caller was given a token by another process.
    pub token: Option<Position>,
    /// When the caller's time is up; `None`: it waits as long as it takes.
    pub deadline: Option<Instant>,
}

/// One caller's question.
pub struct Lookup<T, C> {
    cache: Arc<Cache>,
    method: &'static Cached,
    key: Key,
    /// Its name in Redis.
    name: l2::Key,
    tags: Vec<String>,
    shared_tags: Arc<[Arc<str>]>,
    needs: Needs,
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

/// The right to store a result in Redis. Given back when it is dropped unused, so that nobody waits for a caller who went away.
struct Held {
    l2: l2::Layer,
    name: l2::Key,
    ticket: Option<l2::Ticket>,
}

impl Held {
    fn new(l2: &l2::Layer, name: &l2::Key, ticket: l2::Ticket) -> Self {
        Held { l2: l2.clone(), name: name.clone(), ticket: Some(ticket) }
    }

    fn generations(&self) -> Option<Generations> {
        self.ticket.as_ref().map(|ticket| ticket.generations().clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let (Some(ticket), Ok(runtime)) = (self.ticket.take(), Handle::try_current()) {
            let (l2, name) = (self.l2.clone(), self.name.clone());
            runtime.spawn(async move { l2.abandon(&name, &ticket).await });
        }
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
    /// The question for `key`; `name` is the text of a key that the method names itself.
    pub fn new(
        cache: Arc<Cache>,
        method: &'static Cached,
        key: KeyRef<'_>,
        name: Option<&str>,
        tags: Vec<String>,
        needs: Needs,
    ) -> Self {
        let of_method = method.op.name();
        Lookup {
            name: match name {
                Some(text) => l2::Key::explicit(text),
                None => l2::Key::hashed(of_method, key.stable_hash128(of_method), key.bytes),
            },
            key: key.to_key(),
            shared_tags: tags.iter().map(|tag| Arc::from(tag.as_str())).collect(),
            cache,
            method,
            tags,
            needs,
            spare: None,
            codec: PhantomData,
        }
    }

    /// The same for a caller that has a value already and is to load a newer one.
    #[must_use]
    pub fn refreshing(mut self, spare: T) -> Self {
        self.spare = Some(spare);
        self
    }

    /// Asks everybody but the database. `locate` asks the primary for its position; it is needed where Redis has forgotten.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing; a load that this caller was to make is made by another who waits.
    pub async fn next(&mut self, locate: impl AsyncFnOnce() -> Option<Position>) -> Step<T> {
        let mut vain = 0;
        loop {
            let snapshot = self.cache.fences.snapshot(&self.tags);
            if let Some(value) = self.proved_in_memory().await {
                return Step::Hit(value);
            }
            let follower = match self.cache.flights.join(self.key.as_ref()) {
                Role::Leader(ticket) => return self.lead(Some(ticket), snapshot, locate).await,
                Role::Recursive => return self.lead(None, snapshot, locate).await,
                Role::Follower(follower) => follower,
            };
            if let Some(value) = self.spare.take() {
                return Step::Hit(value);
            }
            if vain == VAIN_WAITS {
                return self.lead(None, snapshot, locate).await;
            }
            let landing = match self.needs.deadline {
                Some(deadline) => match timeout_at(deadline, follower.wait()).await {
                    Ok(landing) => landing,
                    Err(_) => return Step::OutOfTime,
                },
                None => follower.wait().await,
            };
            match landing {
                Landing::Lead(ticket) => {
                    let snapshot = self.cache.fences.snapshot(&self.tags);
                    return self.lead(Some(ticket), snapshot, locate).await;
                }
                Landing::Shared(Outcome::Failure(failure)) => return Step::Failed(failure),
                Landing::Shared(Outcome::Value(landed)) => {
                    if let Some(value) = self.acceptable(&landed, &snapshot).await {
                        self.cache.counts.shared_loads.fetch_add(1, Ordering::Relaxed);
                        return Step::Hit(value);
                    }
                    vain += 1;
                }
            }
        }
    }

    /// A value in memory, for a caller that does not take it on trust.
    async fn proved_in_memory(&self) -> Option<T> {
        let distrusts = self.method.strong && self.cache.l2.is_some() || self.needs.token.is_some();
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

    /// Whether data read at `position`, under `generations`, is new enough for this caller.
    async fn suits(&self, position: Option<Position>, generations: Option<&Generations>) -> bool {
        let shown = self.needs.token.is_none_or(|token| position.is_some_and(|position| position.covers(token)));
        if !shown || !self.method.strong {
            return shown;
        }
        match (&self.cache.l2, generations) {
            (None, _) => true,
            (Some(l2), Some(generations)) => l2.check(&self.tags, generations).await.unwrap_or(false),
            (Some(_), None) => false,
        }
    }

    async fn lead(
        &mut self,
        ticket: Option<Ticket>,
        snapshot: Snapshot,
        locate: impl AsyncFnOnce() -> Option<Position>,
    ) -> Step<T> {
        let trusting = !self.method.strong && self.needs.token.is_none() && self.spare.is_none();
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
        let cache = self.cache.clone();
        if let Some(l2) = &cache.l2
            && (self.method.strong || self.method.in_redis() && C::TRAVELS)
        {
            match self.ask_redis(l2, locate).await {
                Ok(Asked::Found(stored, value)) => {
                    let Stored { position, generations, remaining, .. } = *stored;
                    if self.method.in_memory() {
                        let mut fill = self.fill(value.clone(), load.snapshot.clone(), position, Some(&generations));
                        fill.remaining = Some(remaining);
                        cache.l1.insert(self.key.clone(), fill);
                    }
                    self.land(load.ticket, &value, load.snapshot, position, Some(generations));
                    return Step::Hit(value);
                }
                Ok(Asked::Begun { fill, vouched }) => {
                    required = Position::later(required, fill.required);
                    load.remote = Some(Held::new(l2, &self.name, fill.ticket));
                    load.primary = self.method.strong && !vouched;
                }
                // Without Redis nobody here knows what other instances have written.
                Ok(Asked::Forgotten) => load.primary = self.method.strong,
                Err(_) => match self.admitted().await {
                    Some(permit) => {
                        load._outage = permit;
                        load.primary = self.method.strong;
                    }
                    None => return Step::OutOfTime,
                },
            }
        }
        load.required = Position::later(required, self.needs.token);
        load.primary |= cache.reads_primary();
        cache.counts.loads.fetch_add(1, Ordering::Relaxed);
        Step::Load(Box::new(load))
    }

    async fn ask_redis(
        &self,
        l2: &l2::Layer,
        locate: impl AsyncFnOnce() -> Option<Position>,
    ) -> Result<Asked<T>, l2::Error> {
        let (tags, strong) = (&self.tags, self.method.strong);
        let travels = self.method.in_redis() && C::TRAVELS;
        let mut vouched = false;
        // A caller that is to load a newer value wants none that is stored.
        if travels && self.spare.is_none() {
            let (found, heard) = l2.look_up_vouched(&self.name, tags, C::shape(), strong).await?;
            vouched = heard;
            if let Some(found) = self.read(found) {
                return Ok(found);
            }
        } else if strong {
            // Before the fill begins: what a writer delivers afterwards was not acknowledged before this call.
            vouched = l2.vouched().await?;
        }
        let ttl = self.ttl();
        let mut begun = l2.begin(&self.name, tags, ttl, travels, None).await?;
        if let Begun::NeedsPosition(proof) = &begun {
            let proof = proof.clone();
            let Some(position) = locate().await else { return Ok(Asked::Forgotten) };
            begun = l2.begin(&self.name, tags, ttl, travels, Some((&proof, position))).await?;
        }
        let Begun::Ready(fill) = begun else { return Ok(Asked::Forgotten) };
        if travels && !fill.leader && self.spare.is_none() {
            let left = self.needs.deadline.map_or(Duration::MAX, |deadline| deadline.duration_since(Instant::now()));
            let patience = self.cache.config.fill_lease.min(left / 2);
            let found = l2.wait_filled(&self.name, tags, C::shape(), strong, patience).await?;
            if let Some(found) = self.read(found) {
                return Ok(found);
            }
            // The other instance gave up: this one loads, under the generations of now.
            if let Begun::Ready(again) = l2.begin(&self.name, tags, ttl, true, None).await? {
                return Ok(Asked::Begun { fill: again, vouched });
            }
        }
        Ok(Asked::Begun { fill, vouched })
    }

    fn read(&self, found: Option<Stored>) -> Option<Asked<T>> {
        let stored = found?;
        let shown = |token: Position| stored.position.is_some_and(|position| position.covers(token));
        if !self.needs.token.is_none_or(shown) {
            return None;
        }
        let value = C::decode(&stored.payload)?;
        Some(Asked::Found(Box::new(stored), value))
    }

    /// A place among the loads that may be under way while Redis is lost; `None` when the caller's time is up first.
    async fn admitted(&self) -> Option<Option<OwnedSemaphorePermit>> {
        let permit = self.cache.outage.clone().acquire_owned();
        let permit = match self.needs.deadline {
            Some(deadline) => timeout_at(deadline, permit).await.ok()?,
            None => permit.await,
        };
        Some(permit.ok())
    }

    /// Keeps what was read, and gives it to those who wait. `position` is what the node showed that it was read from.
    pub fn keep(&self, load: Load, value: &T, position: Option<Position>, is_none: bool) {
        let Load { ticket, snapshot, remote, .. } = load;
        let generations = remote.as_ref().and_then(Held::generations);
        if is_none && self.method.without_none {
            drop(remote);
        } else {
            let mut weight = 0;
            if let Some(remote) = remote
                && self.method.in_redis()
                && let Some(payload) = C::encode(value)
            {
                weight = payload.len();
                let ttl = if is_none { self.ttl().min(self.cache.config.none_ttl) } else { self.ttl() };
                self.send(remote, payload, position, ttl);
            }
            if self.method.in_memory() {
                let mut fill = self.fill(value.clone(), snapshot.clone(), position, generations.as_ref());
                fill.bytes = weight;
                if is_none {
                    fill.remaining =
                        Some(fill.remaining.map_or(self.cache.config.none_ttl, |r| r.min(self.cache.config.none_ttl)));
                }
                self.cache.l1.insert(self.key.clone(), fill);
            }
        }
        self.land(ticket, value, snapshot, position, generations);
    }

    /// Tells those who wait that it failed.
    pub fn fail(&self, load: Load, told: Shared) {
        let Load { ticket, remote, .. } = load;
        drop(remote);
        if let Some(ticket) = ticket {
            ticket.fail(told);
        }
    }

    /// A load of this caller's own, which nobody else waits for.
    pub fn apart(&self) -> Box<Load> {
        self.cache.counts.loads.fetch_add(1, Ordering::Relaxed);
        Box::new(Load {
            snapshot: self.cache.fences.snapshot(&self.tags),
            required: Position::later(self.cache.fences.required(&self.tags), self.needs.token),
            // Nobody was asked what other instances have written.
            primary: self.cache.reads_primary() || self.method.strong && self.cache.l2.is_some(),
            ..Load::default()
        })
    }

    /// Waits for others until `deadline` at most.
    pub fn bound(&mut self, deadline: Instant) {
        self.needs.deadline = Some(deadline);
    }

    /// What is left of an answer that a failed load may be replaced by: one that is good still, or expired not too long ago.
    pub fn stand_in(&mut self) -> Option<T> {
        if let Some(spare) = self.spare.take() {
            return Some(spare);
        }
        self.method.stale_if_error?;
        let entry = self.cache.l1.stale(self.key.as_ref())?;
        let shown = self.needs.token.is_none_or(|token| entry.position().is_some_and(|p| p.covers(token)));
        if !shown || self.method.strong {
            return None;
        }
        self.cache.counts.stale_served.fetch_add(1, Ordering::Relaxed);
        entry.value::<T>().cloned()
    }

    /// Stores in the background: the caller has its answer.
    fn send(&self, mut remote: Held, payload: Vec<u8>, position: Option<Position>, ttl: Duration) {
        let Ok(room) = self.cache.stores.clone().try_acquire_owned() else { return };
        let Some(ticket) = remote.ticket.take() else { return };
        let (l2, name, tags) = (remote.l2.clone(), self.name.clone(), self.tags.clone());
        let store = async move {
            let stored = l2.store(&name, &tags, &ticket, C::shape(), &payload, position, ttl).await;
            if let Err(error) = stored {
                tracing::debug!(%error, "a result was not stored in Redis");
            }
            drop(room);
        };
        tokio::spawn(store.in_current_span());
    }

    fn fill(
        &self,
        value: T,
        snapshot: Snapshot,
        position: Option<Position>,
        generations: Option<&Generations>,
    ) -> Fill<T> {
        let (method, config) = (self.method, &self.cache.config);
        let ttl = method.l1_ttl.unwrap_or(config.l1_ttl).min(self.ttl());
        let mut fill = Fill::new(value, self.shared_tags.clone(), snapshot);
        fill.position = position;
        fill.remote = generations.map(|generations| Arc::new(generations.clone()) as Arc<dyn Any + Send + Sync>);
        fill.ttl = Some(ttl);
        fill.stale_for = method.stale_if_error.unwrap_or_default();
        fill.refresh_ahead = method.refresh_ahead.map(|share| ttl.mul_f64(1.0 - share));
        let l2 = self.cache.l2.as_ref();
        if !self.cache.hears.load(Ordering::Acquire) || l2.is_some_and(|l2| l2.holds(&self.tags)) {
            fill.remaining = Some(config.untrusted_ttl);
        }
        fill
    }

    fn ttl(&self) -> Duration {
        self.method.ttl.unwrap_or(self.cache.config.ttl)
    }

    fn land(
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

/// A value that a write is about to commit.
pub struct NewValue<T, C> {
    lookup: Lookup<T, C>,
    began: Snapshot,
    value: T,
    is_none: bool,
}

impl<T, C> NewValue<T, C>
where
    T: Clone + Send + Sync + 'static,
    C: Codec<T>,
{
    /// The value for what `lookup` asks.
    pub fn new(lookup: Lookup<T, C>, value: T, is_none: bool) -> Self {
        NewValue { began: lookup.cache.fences.snapshot(&lookup.tags), lookup, value, is_none }
    }
}

impl<T, C> Written for NewValue<T, C>
where
    T: Clone + Send + Sync + 'static,
    C: Codec<T>,
{
    fn tags(&self) -> &[String] {
        &self.lookup.tags
    }

    fn began(&self) -> &Snapshot {
        &self.began
    }

    fn keep(self: Box<Self>, snapshot: Option<Snapshot>, remote: Option<l2::Invalidated>, position: Option<Position>) {
        let Some(snapshot) = snapshot else { return };
        // With Redis, another instance's write counts too.
        let remote = match (&self.lookup.cache.l2, remote) {
            (None, _) => None,
            (Some(l2), Some(done)) if done.alone => Some(Held::new(l2, &self.lookup.name, done.ticket)),
            (Some(_), _) => return,
        };
        let load = Load { snapshot, remote, ..Load::default() };
        self.lookup.keep(load, &self.value, position, self.is_none);
    }
}

/// What Redis said.
enum Asked<T> {
    /// Here it is.
    Found(Box<Stored>, T),
    /// Nothing: load, and store under this ticket. `vouched`: the fill knows the position of every write that a strong reader must see.
    Begun { fill: l2::Fill, vouched: bool },
    /// It cannot say what a load must have seen: load and do not store.
    Forgotten,
}

fn remote_of(entry: &Entry) -> Option<Generations> {
    entry.remote().and_then(|remote| remote.downcast_ref::<Generations>()).cloned()
}
