//! Where limits stand in a call: a caller's own before the cache, what all share right before a connection is taken.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::time::Instant;

use super::cached::CachedMethod;
use super::{Call, CallKey, Config, Look, Runtime, Sharing};
use crate::backend::Backend;
use crate::cache::Codec;
use crate::context;
use crate::error::Error;
use crate::limit::{Asking, LimitStatus, Limited, Limiter, Parts, Permits, Refused, Verdict, Who};
use crate::rate::Rates;

/// The limits of these settings; what they leave open is the cache's.
pub(super) fn limiter(config: &Config) -> Result<Arc<Limiter>, Vec<String>> {
    let (limit, cache) = (&config.limit, &config.cache);
    let redis = if limit.redis.is_empty() { cache.redis.expose() } else { limit.redis.expose() };
    let namespace = if limit.namespace.is_empty() { &cache.namespace } else { &limit.namespace };
    Limiter::new(limit, Some((redis, namespace)))
}

/// What a call owes to limits.
#[derive(Default)]
pub(super) struct Limits {
    limited: Option<&'static Limited>,
    /// The caller's limit is named by the arguments.
    key: Option<String>,
    /// Taken before the cache was asked.
    user: Option<Permits>,
    /// Whether the limits were asked: a body that runs again is not counted again.
    passed: bool,
    used_since: Option<Instant>,
}

impl Limits {
    /// The call has its connection.
    pub(super) fn begin_use(&mut self) {
        if self.limited.is_some_and(Limited::is_by_time) {
            self.used_since.get_or_insert_with(Instant::now);
        }
    }

    /// The limits of a load whose caller was let in before the cache.
    pub(super) fn after_cache(limited: &'static Limited, key: Option<String>, user: Permits) -> Self {
        Limits { limited: Some(limited), key, user: Some(user), ..Limits::default() }
    }
}

impl<B: Backend> Call<'_, B> {
    /// Makes the call count against these limits; `key` names who is limited in place of the caller.
    pub fn limited(&mut self, limited: &'static Limited, key: Option<fmt::Arguments<'_>>) {
        self.limits = Limits { limited: Some(limited), key: key.map(|key| key.to_string()), ..Limits::default() };
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes what the call needs of its limits, once.
    pub(super) async fn within_limits(&mut self) -> Result<(), Error> {
        let limiter = &self.runtime.limiter;
        let limits = &mut self.limits;
        if limits.passed || (limits.limited.is_none() && !limiter.limits_everything()) {
            return Ok(());
        }
        // What must not run at all is not counted.
        if context::holder().is_some() {
            return Ok(());
        }
        limits.passed = true;
        let parts = if limits.user.is_some() { Parts::Shared } else { Parts::All };
        let (limited, user, key) = (limits.limited, limits.user, limits.key.clone());
        let op = self.op;
        let answer = match &key {
            Some(key) => limiter.check(op, limited, Who::Key(format_args!("{key}")), parts),
            None => limiter.check(op, limited, Who::Caller, parts),
        };
        let answer = match answer {
            Verdict::Admitted(_) => Ok(()),
            Verdict::Refused(refused) => Err(*refused),
            Verdict::Ask(asking) => asking.answer().await.map(drop),
        };
        answer.map_err(|refused| {
            if let (Some(limited), Some(user)) = (limited, user) {
                limiter.give_back(limited, user);
            }
            refused.into()
        })
    }

    /// Counts the time that the call used its connection, where that is its cost.
    pub(super) fn charge_time(&mut self) {
        let runtime = self.runtime;
        let limits = &mut self.limits;
        let (Some(limited), Some(since)) = (limits.limited, limits.used_since.take()) else { return };
        match &limits.key {
            Some(key) => runtime.limiter.took(limited, Who::Key(format_args!("{key}")), since.elapsed()),
            None => runtime.limiter.took(limited, Who::Caller, since.elapsed()),
        }
    }
}

/// What a cached call's limit said before the cache was asked.
pub(super) struct Before {
    pub(super) limited: &'static Limited,
    pub(super) key: Option<String>,
    pub(super) permits: Permits,
    pub(super) asking: Option<Box<Asking>>,
}

impl<B: Backend> Runtime<B> {
    /// [`Runtime::look`] for a caller whose limit counts, hits included.
    #[inline]
    pub fn look_limited<'a, T, E, C, K>(
        self: &'a Arc<Self>,
        limit_key: Option<fmt::Arguments<'_>>,
        method: CachedMethod<Result<T, E>, C>,
        sharing: Sharing<E>,
        absence: fn(&T) -> bool,
        key: &K,
        tags: impl FnOnce() -> Vec<String>,
    ) -> Look<'a, B, T, E, C>
    where
        T: Clone + Send + Sync + 'static,
        E: From<B::Error>,
        C: Codec<T>,
        K: CallKey + ?Sized,
    {
        let Some(limited) = method.limited else { return self.look(method, sharing, absence, key, tags) };
        // What is refused anyway is not counted.
        if context::holder().is_some() || self.is_closing() {
            return self.look(method, sharing, absence, key, tags);
        }
        let who = limit_key.map_or(Who::Caller, Who::Key);
        match self.limiter.check(limited.op(), Some(limited), who, Parts::User) {
            Verdict::Admitted(permits) => match self.look(method, sharing, absence, key, tags) {
                Look::Hit(result) => Look::Hit(result),
                Look::Miss(mut miss) => {
                    miss.before =
                        Some(Before { limited, key: limit_key.map(|key| key.to_string()), permits, asking: None });
                    Look::Miss(miss)
                }
            },
            Verdict::Refused(refused) => Look::Hit(Err(too_often::<B, E>(*refused))),
            Verdict::Ask(asking) => {
                let before = Before {
                    limited,
                    key: limit_key.map(|key| key.to_string()),
                    permits: Permits::default(),
                    asking: Some(asking),
                };
                self.look(method, sharing, absence, key, tags).only_if(self, method, sharing_of::<E>(), absence, before)
            }
        }
    }

    /// What the limits did so far.
    pub fn limit_status(&self) -> LimitStatus {
        self.limiter.status()
    }

    /// Sets who is asked for limits of single users in place of `limit.per_user`: none means the configured one. Answers are kept
    /// for `limit.users_ttl`. False if somebody is asked already.
    pub fn set_user_limits<F, A>(&self, ask: F) -> bool
    where
        F: Fn(String) -> A + Send + Sync + 'static,
        A: Future<Output = Option<Rates>> + Send + 'static,
    {
        self.limiter.set_user_limits(ask)
    }
}

/// Nothing is shared of what was found in memory.
fn sharing_of<E>() -> Sharing<E> {
    Sharing { pack: |_| None, unpack: |_| None }
}

pub(super) fn too_often<B: Backend, E: From<B::Error>>(refused: Refused) -> E {
    E::from(B::Error::from(refused.into()))
}
