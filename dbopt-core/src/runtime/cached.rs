//! The path of a cached call: answered near, or one load for all who ask.

use std::any::Any;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;

use serde::Serialize;
use tokio::time::timeout_at;

use super::limiting::{Before, Limits, too_often};
use super::{Call, Runtime};
use crate::backend::{Backend, Connection};
use crate::cache::flight::Shared;
use crate::cache::lookup::{Load, Lookup, Step};
use crate::cache::written::NewValue;
use crate::cache::{Cached, Codec};
use crate::context::{self, Context};
use crate::error::{Error, Waiting};
use crate::key::{Key, KeyRef, with_key};
use crate::limit::Limited;
use crate::op::{Intent, Op};
use crate::position::Position;

/// Asks the primary where its log ends.
static LOCATE: Op = Op::new("Db::locate", Intent::Read).from_primary();

/// A cached method with the type of its results and the way they travel.
pub struct CachedMethod<R, C> {
    method: &'static Cached,
    pub(super) limited: Option<&'static Limited>,
    types: PhantomData<fn() -> (R, C)>,
}

// Bounds on the constructor, so that a type that cannot be kept is a mistake where the method names it.
impl<T: Clone + Send + Sync + 'static, E, C: Codec<T>> CachedMethod<Result<T, E>, C> {
    /// The method that `method` describes.
    pub const fn new(method: &'static Cached) -> Self {
        CachedMethod { method, limited: None, types: PhantomData }
    }

    /// With limits.
    #[must_use]
    pub const fn limited(mut self, limited: &'static Limited) -> Self {
        self.limited = Some(limited);
        self
    }
}

impl<R, C> Clone for CachedMethod<R, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R, C> Copy for CachedMethod<R, C> {}

impl<R, C> std::fmt::Debug for CachedMethod<R, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.method.fmt(f)
    }
}

/// How an error of a load reaches the others who waited for it: cloned, where its type can be.
pub struct Sharing<E> {
    /// A copy for others; `None`: each of them must try itself.
    pub pack: fn(&E) -> Option<Shared>,
    /// The copy's content.
    pub unpack: fn(&Shared) -> Option<E>,
}

impl<E> std::fmt::Debug for Sharing<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sharing")
    }
}

/// What a leader tells of its failure.
enum Told {
    /// dbopt's own reason.
    Refused(Error),
    /// The method's own error, packed.
    Failed(Shared),
    /// An error that cannot be copied: each tries itself.
    Apart,
}

/// What a call is known by: its arguments, or a text that the method names itself.
pub trait CallKey {
    /// What is compared.
    type Arguments: Serialize + ?Sized;
    /// What is compared.
    fn arguments(&self) -> &Self::Arguments;
    /// The text, if it is one.
    fn text(&self) -> Option<&str>;
}

impl<A: Serialize> CallKey for A {
    type Arguments = A;

    fn arguments(&self) -> &A {
        self
    }

    fn text(&self) -> Option<&str> {
        None
    }
}

/// A key that a method names itself: `key = "flight:{id}"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextKey(pub String);

impl CallKey for TextKey {
    type Arguments = str;

    fn arguments(&self) -> &str {
        &self.0
    }

    fn text(&self) -> Option<&str> {
        Some(&self.0)
    }
}

/// The first answer to a cached call. Small, as it is nearly always a hit.
#[must_use]
pub enum Look<'a, B: Backend, T, E, C> {
    /// It was in memory.
    Hit(Result<T, E>),
    /// It was not: go on with [`CachedCall::next`].
    Miss(Box<CachedCall<'a, B, T, E, C>>),
}

/// A cached call whose answer was not in memory.
pub struct CachedCall<'a, B: Backend, T, E, C> {
    runtime: &'a Arc<Runtime<B>>,
    method: &'static Cached,
    /// `None`: the call goes to the database as if it were not cached.
    lookup: Option<Lookup<T, C>>,
    load: Option<Box<Load>>,
    sharing: Sharing<E>,
    absence: fn(&T) -> bool,
    /// What its caller's limit said.
    pub(super) before: Option<Before>,
    /// Found in memory, and returned if the limit allows.
    ready: Option<Result<T, E>>,
}

/// What a cached call does next.
#[must_use]
#[allow(clippy::large_enum_variant, reason = "it lives in the box of a miss already")]
pub enum Next<'a, B: Backend, R> {
    /// Return this.
    Return(R),
    /// Run the body in this call, and give its result to [`CachedCall::end`].
    Load(Call<'a, B>),
}

/// A key for one who goes on without the answer.
#[cold]
#[inline(never)]
fn owned(key: KeyRef<'_>) -> Key {
    key.to_key()
}

impl<B: Backend> Runtime<B> {
    /// Looks for the answer to a call of `method` with `key`. `tags` are made only if it is not in memory.
    #[inline]
    pub fn look<'a, T, E, C, K>(
        self: &'a Arc<Self>,
        method: CachedMethod<Result<T, E>, C>,
        sharing: Sharing<E>,
        absence: fn(&T) -> bool,
        key: &K,
        tags: impl FnOnce() -> Vec<String>,
    ) -> Look<'a, B, T, E, C>
    where
        T: Clone + Send + Sync + 'static,
        C: Codec<T>,
        K: CallKey + ?Sized,
    {
        let spec = method.method;
        if spec.varies_by_user() {
            let user = Context::current().and_then(|context| context.user_id().map(str::to_owned));
            let text = key.text().map(|text| format!("{text}@{}", user.as_deref().unwrap_or_default()));
            return self.look_for(spec, sharing, absence, &(user.as_deref(), key.arguments()), text.as_deref(), tags);
        }
        self.look_for(spec, sharing, absence, key.arguments(), key.text(), tags)
    }

    #[inline]
    fn look_for<'a, T, E, C, A>(
        self: &'a Arc<Self>,
        method: &'static Cached,
        sharing: Sharing<E>,
        absence: fn(&T) -> bool,
        arguments: &A,
        text: Option<&str>,
        tags: impl FnOnce() -> Vec<String>,
    ) -> Look<'a, B, T, E, C>
    where
        T: Clone + Send + Sync + 'static,
        C: Codec<T>,
        A: Serialize + ?Sized,
    {
        let given = Context::given_token().map(|token| self.cluster.topology().carried_over(token).0);
        // Inside another method's body it is refused, as an uncached call is, whether or not the answer is near.
        let asks = self.cache.is_enabled() && context::holder().is_none() && !self.is_closing();
        let (mut key, mut spare) = (None, None);
        if asks {
            // The only place where a key is made, so that making it is inlined.
            let made = with_key(method.op().id(), arguments, |found| {
                if self.insight.counts_calls() {
                    self.insight.called(method.op(), found.hash);
                }
                let hit = if given.is_some() { None } else { self.cache.near::<T>(method, found) };
                match hit {
                    Some(hit) if !hit.refresh => return Some(hit.value),
                    Some(hit) => spare = Some(hit.value),
                    None => {}
                }
                key = Some(owned(found));
                None
            });
            match made {
                Ok(Some(value)) => return Look::Hit(Ok(value)),
                Ok(None) => {}
                Err(error) => self.cache.no_key(method, &error),
            }
        }
        let lookup = key.map(|key| Lookup::new(self.cache.clone(), method, key, text, tags(), given));
        let lookup = match (lookup, spare) {
            (Some(lookup), Some(value)) => Some(lookup.refreshing(value)),
            (lookup, _) => lookup,
        };
        Look::Miss(Box::new(CachedCall {
            runtime: self,
            method,
            lookup,
            load: None,
            sharing,
            absence,
            before: None,
            ready: None,
        }))
    }

    /// Where the primary's log ends, asked of it.
    pub(super) async fn locate(self: &Arc<Self>) -> Option<Position> {
        // Whoever asks can go on without the answer.
        let mut call = self.call(&LOCATE).at_once();
        let mut lease = call.find_connection().await.ok()?;
        let end = tokio::time::timeout_at(call.deadline(), lease.log_end()).await;
        end.ok()?.ok()
    }
}

impl<'a, B: Backend, T, E, C> Look<'a, B, T, E, C> {
    /// The same for a caller whose limit has to be asked for first.
    pub(super) fn only_if(
        self,
        runtime: &'a Arc<Runtime<B>>,
        method: CachedMethod<Result<T, E>, C>,
        sharing: Sharing<E>,
        absence: fn(&T) -> bool,
        before: Before,
    ) -> Self {
        let before = Some(before);
        match self {
            Look::Miss(miss) => Look::Miss(Box::new(CachedCall { before, ..*miss })),
            Look::Hit(result) => Look::Miss(Box::new(CachedCall {
                runtime,
                method: method.method,
                lookup: None,
                load: None,
                sharing,
                absence,
                before,
                ready: Some(result),
            })),
        }
    }
}

impl<'a, B, T, E, C> CachedCall<'a, B, T, E, C>
where
    B: Backend,
    T: Clone + Send + Sync + 'static,
    E: From<B::Error>,
    C: Codec<T>,
{
    /// Asks everybody but the database.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing; a load that it was to make is made by another caller.
    pub async fn next(&mut self) -> Next<'a, B, Result<T, E>> {
        if let Some(asking) = self.before.as_mut().and_then(|before| before.asking.take()) {
            match asking.answer().await {
                Ok(permits) => self.before.iter_mut().for_each(|before| before.permits = permits),
                Err(refused) => return Next::Return(Err(too_often::<B, E>(refused))),
            }
        }
        if let Some(result) = self.ready.take() {
            return Next::Return(result);
        }
        let mut call = self.runtime.call(self.method.op());
        if let Some(before) = &self.before {
            call.set_limits(Limits::after_cache(before.limited, before.key.clone(), before.permits));
        }
        let runtime = self.runtime;
        let Some(lookup) = &mut self.lookup else {
            // Where nothing is cached, nobody was told either what other instances have written.
            call.require(None, self.method.is_strong());
            return Next::Load(call);
        };
        let deadline = call.deadline();
        let located = async || timeout_at(deadline, runtime.locate()).await.ok().flatten();
        let step = call.span.looks(pin!(lookup.next(deadline, located))).await;
        let load = match step {
            Step::Hit(value) => {
                call.span.cache("hit");
                return Next::Return(Ok(value));
            }
            Step::Load(load) => load,
            Step::OutOfTime => {
                let error = call.out_of_time(Waiting::OtherLoad);
                return Next::Return(self.stand_in().ok_or_else(|| E::from(error.into())));
            }
            Step::Failed(told) => match self.others_failure(&told) {
                Some(result) => return Next::Return(result),
                None => self.lookup.as_ref().map(Lookup::apart).unwrap_or_default(),
            },
        };
        call.span.cache("miss");
        call.require(load.required(), load.needs_primary());
        self.load = Some(load);
        Next::Load(call)
    }

    /// Keeps the result of a load, or tells the others that it failed.
    pub async fn end(mut self, call: Call<'a, B>, result: Result<T, E>) -> Result<T, E> {
        let (Some(lookup), Some(load)) = (&mut self.lookup, self.load.take()) else { return result };
        match result {
            Ok(value) => {
                let is_none = (self.absence)(&value);
                lookup.keep(*load, &value, call.read_at(), is_none);
                Ok(value)
            }
            Err(error) => {
                let told = match (call.own_error(), (self.sharing.pack)(&error)) {
                    (Some(refused), _) => Told::Refused(refused.clone()),
                    (None, Some(packed)) => Told::Failed(packed),
                    (None, None) => Told::Apart,
                };
                lookup.fail(*load, Arc::new(told) as Arc<dyn Any + Send + Sync>);
                // An answer of the method's own, such as "not found", is an answer: nothing older stands in for it.
                let unanswered = call.met_infrastructure_fault();
                match if unanswered { self.stand_in() } else { None } {
                    Some(value) => Ok(value),
                    None => Err(error),
                }
            }
        }
    }

    /// The answer to a caller who waited for a load that failed; `None`: it must load itself.
    fn others_failure(&mut self, told: &Shared) -> Option<Result<T, E>> {
        match (**told).downcast_ref::<Told>()? {
            Told::Refused(error @ Error::RateLimited { .. }) => {
                // The load that this caller waited for was refused: what it paid itself was for nothing.
                if let Some(before) = &self.before {
                    self.runtime.limiter.give_back(before.limited, before.permits);
                }
                Some(self.stand_in().ok_or_else(|| E::from(error.clone().into())))
            }
            Told::Refused(error) => Some(self.stand_in().ok_or_else(|| E::from(error.clone().into()))),
            Told::Failed(packed) => (self.sharing.unpack)(packed).map(Err),
            Told::Apart => None,
        }
    }

    fn stand_in(&mut self) -> Option<T> {
        self.lookup.as_mut().and_then(Lookup::stand_in)
    }
}

impl<B: Backend> Call<'_, B> {
    /// Keeps `value` for `method`, once what this call writes is committed, if nobody can have written a later one by then. In
    /// any case the cached method's `tags` are invalidated.
    pub fn write_through<T, E, C, K>(
        &mut self,
        method: CachedMethod<Result<T, E>, C>,
        key: &K,
        tags: Vec<String>,
        absence: fn(&T) -> bool,
        value: &T,
    ) where
        T: Clone + Send + Sync + 'static,
        C: Codec<T>,
        K: CallKey + ?Sized,
    {
        let spec = method.method;
        let runtime = self.runtime;
        tags.iter().for_each(|tag| self.invalidates(tag.as_str()));
        // Whoever writes is not everybody who reads.
        if !runtime.cache.is_enabled() || spec.varies_by_user() {
            return;
        }
        match with_key(spec.op().id(), key.arguments(), |found| found.to_key()) {
            Ok(found) => {
                let lookup = Lookup::<T, C>::new(runtime.cache.clone(), spec, found, key.text(), tags, None);
                self.writes_through(Box::new(NewValue::new(lookup, value.clone(), absence(value))));
            }
            Err(error) => runtime.cache.no_key(spec, &error),
        }
    }
}
