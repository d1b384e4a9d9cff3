//! The check itself: what is decided at once, and what Redis must be asked for.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::ask::Asking;
use super::budget::{Budget, Place, Resolved};
use super::cell::{Cell, Full, Limit};
use super::clock::{Clock, SLACK};
use super::config::{Config, WhenLost};
use super::desk::{self, Outcome, Post, Registry, Stripe};
use super::method::Limited;
use super::overrides::{Known, Overrides};
use super::redis::{self, Store};
use super::table::Table;
use super::window::millis;
use crate::context::{self, Consulted, Context};
use crate::error::{Error, LimitCause};
use crate::op::Op;
use crate::rate::{Rate, Rates, Scope};

/// A background loop, and its name.
pub type Task = (&'static str, Pin<Box<dyn Future<Output = ()> + Send>>);

/// How long a thread uses permits of a limit that all share, at most.
const STRIPE: u64 = 100;
/// The largest lease, of one caller's limit and of one that all share.
const MOST_OF_A_USER: u32 = 4096;
const MOST_OF_ALL: u32 = 65_536;
/// How long a refusal of Redis is believed without asking again.
pub(super) const BELIEVED: u64 = 50;
/// Between looks at permits that were not used.
const SWEEP: Duration = Duration::from_millis(500);

static NEXT: AtomicU64 = AtomicU64::new(1);

/// The limits of an instance.
pub struct Limiter {
    pub(super) id: u64,
    pub(super) enabled: bool,
    pub(super) clock: Clock,
    pub(super) store: Option<Arc<Store>>,
    pub(super) when_lost: WhenLost,
    local_share: f64,
    lease: Duration,
    lease_share: f64,
    buckets: u32,
    callers: usize,
    per_user: Option<Arc<Budget>>,
    global: Option<Arc<Budget>>,
    database: Option<Arc<Budget>>,
    budgets: ArcSwap<Vec<Arc<Budget>>>,
    adding: Mutex<HashMap<usize, Arc<Resolved>>>,
    pub(super) overrides: Overrides,
    pub(super) registry: Arc<Registry>,
    pub(super) expired: AtomicU64,
    complained: AtomicBool,
    me: Weak<Limiter>,
}

/// Who is limited.
#[derive(Debug, Clone, Copy)]
pub enum Who<'a> {
    /// The caller of the [`Context`].
    Caller,
    /// Whoever the method's arguments name.
    Key(fmt::Arguments<'a>),
}

/// Which limits to take from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// The caller's: what stands before the cache.
    User,
    /// What all share: for calls that reach the database.
    Shared,
    /// Both.
    All,
}

impl Parts {
    pub(super) fn user(self) -> bool {
        self != Parts::Shared
    }

    pub(super) fn shared(self) -> bool {
        self != Parts::User
    }
}

/// What was taken, so that it can be given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permits {
    /// Whose, and when it was charged.
    pub(super) user: Option<(u64, u64)>,
    pub(super) cost: u32,
}

/// Why a call must not run.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The method.
    pub method: &'static str,
    /// Who is limited together.
    pub scope: Scope,
    /// The window that is full.
    pub limit: Rate,
    /// What the call would have counted as.
    pub cost: u32,
    /// When there will be room.
    pub retry_after: Duration,
    /// Why.
    pub cause: LimitCause,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        let Refused { method, scope, limit, cost, retry_after, cause } = refused;
        Error::RateLimited { method, scope, limit, cost, retry_after, cause }
    }
}

/// What was decided at once.
#[derive(Debug)]
#[must_use]
pub enum Verdict {
    /// The call may run.
    Admitted(Permits),
    /// It must not.
    Refused(Box<Refused>),
    /// Redis, or the application, has to be asked.
    Ask(Box<Asking>),
}

/// What is known after a look without asking anybody.
enum Quick {
    Admitted(Permits),
    Full(Scope, Full),
    Ask,
}

impl Limiter {
    /// The limits of `config`, counted in Redis if `redis` names one: its URL and the namespace.
    ///
    /// # Errors
    /// When Redis' URL cannot be read.
    pub fn new(config: &Config, redis: Option<(&str, &str)>) -> Result<Arc<Self>, Vec<String>> {
        let store = match redis.filter(|(url, _)| config.enabled && !url.is_empty()) {
            Some((url, namespace)) => {
                let wrong = |why| vec![format!("limit.redis (or cache.redis) cannot be used: {why}")];
                Some(Arc::new(Store::new(url, namespace, config.timeout).map_err(wrong)?))
            }
            None => None,
        };
        Ok(Arc::new_cyclic(|me| {
            let mut limiter = Limiter {
                id: NEXT.fetch_add(1, Relaxed),
                enabled: config.enabled,
                clock: Clock::new(store.is_some()),
                store,
                when_lost: config.when_redis_is_lost,
                local_share: config.local_share,
                lease: config.lease,
                lease_share: config.lease_share,
                buckets: config.buckets(),
                callers: config.callers,
                per_user: None,
                global: None,
                database: None,
                budgets: ArcSwap::default(),
                adding: Mutex::default(),
                overrides: Overrides::new(HashMap::new(), config.users_ttl),
                registry: Arc::default(),
                expired: AtomicU64::new(0),
                complained: AtomicBool::new(false),
                me: me.clone(),
            };
            let users = config.users.iter();
            let users = users.map(|(user, rates)| (user.clone(), Arc::new(limiter.limit(rates.clone(), Scope::User))));
            limiter.overrides = Overrides::new(users.collect(), config.users_ttl);
            limiter.per_user = limiter.add(Scope::User, "user".into(), config.per_user.clone(), true);
            limiter.global = limiter.add(Scope::Global, "global".into(), config.global.clone(), false);
            limiter.database = limiter.add(Scope::Database, "database".into(), config.database.clone(), false);
            limiter
        }))
    }

    pub(super) fn limit(&self, rates: Rates, scope: Scope) -> Limit {
        let shortest = rates.windows().first().map_or(1000, |rate| millis(rate.window));
        let count = rates.least().map_or(0.0, |count| f64::from(count.get()));
        let exact = self.buckets == 0;
        if let Some(store) = &self.store {
            let life = (shortest / 20).clamp(50, millis(self.lease).max(50)).max(store.single_life());
            let most = if scope == Scope::User { MOST_OF_A_USER } else { MOST_OF_ALL };
            let most = if exact { 0 } else { ((count * self.lease_share) as u32).min(most) };
            return Limit::new(rates, self.buckets, life, 0, life, most);
        }
        let life = if exact { 0 } else { (shortest / 20).clamp(10, STRIPE) };
        let ahead = if scope == Scope::User { 0 } else { life };
        Limit::new(rates, self.buckets, life, SLACK, ahead, 0)
    }

    fn add(&self, scope: Scope, name: Arc<str>, rates: Rates, overridable: bool) -> Option<Arc<Budget>> {
        if rates.is_empty() || !self.enabled {
            return None;
        }
        let limit = Arc::new(self.limit(rates, scope));
        let place = match scope {
            Scope::User => Place::Callers(Table::new(self.callers)),
            _ => Place::All(Mutex::default()),
        };
        let mut budgets = Vec::clone(&self.budgets.load());
        let budget = Arc::new(Budget { scope, name, limit, number: budgets.len(), overridable, place });
        budgets.push(budget.clone());
        self.budgets.store(Arc::new(budgets));
        Some(budget)
    }

    /// Whether a method without `#[rate_limited]` is limited at all.
    #[inline]
    pub fn limits_everything(&self) -> bool {
        self.database.is_some()
    }

    /// Takes what a call of `op` needs, if that can be known at once.
    #[inline]
    pub fn check(&self, op: &'static Op, limited: Option<&'static Limited>, who: Who<'_>, parts: Parts) -> Verdict {
        let (tag, special) = Context::caller();
        let tag = match who {
            Who::Caller => tag,
            Who::Key(key) => context::tag(context::ARGUMENT, text(key, &mut String::new())),
        };
        if special {
            return self.check_noted(op, limited, who, tag, parts);
        }
        match self.quick(op, limited, tag, parts) {
            Quick::Admitted(permits) => Verdict::Admitted(permits),
            other => self.slow(op, limited, who, tag, parts, other),
        }
    }

    #[cold]
    fn slow(
        &self,
        op: &'static Op,
        limited: Option<&'static Limited>,
        who: Who<'_>,
        tag: u64,
        parts: Parts,
        quick: Quick,
    ) -> Verdict {
        match quick {
            Quick::Admitted(permits) => Verdict::Admitted(permits),
            Quick::Full(scope, full) => {
                let resolved = self.resolve(op, limited);
                Verdict::Refused(Box::new(self.refused(op, &resolved, scope, tag, full)))
            }
            Quick::Ask => {
                let Some(limiter) = self.me.upgrade() else { return Verdict::Admitted(Permits::default()) };
                let (mut name, user) = Context::caller_name();
                let user = match who {
                    Who::Caller => user,
                    Who::Key(key) => {
                        name = format!("a:{key}");
                        None
                    }
                };
                Verdict::Ask(Box::new(Asking {
                    limiter,
                    op,
                    limited,
                    resolved: self.resolve(op, limited),
                    tag,
                    name,
                    user,
                    parts,
                }))
            }
        }
    }

    /// For callers about whom something has to be noted besides.
    #[cold]
    fn check_noted(
        &self,
        op: &'static Op,
        limited: Option<&'static Limited>,
        who: Who<'_>,
        tag: u64,
        parts: Parts,
    ) -> Verdict {
        let Some(context) = Context::current() else { return Verdict::Admitted(Permits::default()) };
        let resolved = self.resolve(op, limited);
        if let Some(reason) = context.admin_reason() {
            let before = matches!(parts, Parts::User | Parts::All) && resolved.user.is_some();
            if before
                || (parts != Parts::User
                    && resolved.user.is_none()
                    && (resolved.global.is_some() || resolved.database.is_some()))
            {
                tracing::info!(target: "dbopt::audit", method = op.name(), user = context.user_id(), reason, "an administrator's call passes the limits");
            }
            self.bypass(op, limited, &resolved, tag, parts, who);
            return Verdict::Admitted(Permits::default());
        }
        let quick = self.quick(op, limited, tag, parts);
        let verdict = self.slow(op, limited, who, tag, parts, quick);
        match &verdict {
            Verdict::Admitted(_) => self.note(&context, &resolved, tag, parts, None),
            Verdict::Refused(refused) => self.note(&context, &resolved, tag, parts, Some(refused)),
            Verdict::Ask(_) => {}
        }
        verdict
    }

    /// Tells a context what the limits said.
    pub(super) fn note(
        &self,
        context: &Context,
        resolved: &Resolved,
        tag: u64,
        parts: Parts,
        refused: Option<&Refused>,
    ) {
        let now = self.clock.now();
        for budget in resolved.budgets(parts) {
            let refused = refused.filter(|refused| refused.scope == budget.scope);
            let (remaining, reset, windows) = budget.with(tag, now, |cell, _| {
                let limit = cell.limit.clone().unwrap_or_else(|| budget.limit.clone());
                let (free, at) = if self.store.is_some() { (cell.left, cell.until) } else { cell.view(&limit, now) };
                (free, at.saturating_sub(now), limit.rates.windows().to_vec())
            });
            context.note(Consulted {
                scope: budget.scope,
                name: budget.name.clone(),
                windows,
                remaining: if refused.is_some() { 0 } else { remaining },
                reset: refused.map_or(Duration::from_millis(reset), |refused| refused.retry_after),
                refused: refused.map(|refused| refused.retry_after),
            });
        }
    }

    #[inline]
    fn quick(&self, op: &'static Op, limited: Option<&'static Limited>, tag: u64, parts: Parts) -> Quick {
        let now = self.clock.now();
        match desk::at(self.id, op.id(), |post, stripes| self.take_here(post, stripes, now, tag, parts)) {
            Some(quick) => quick,
            None => self.quick_first(op, limited, tag, parts),
        }
    }

    /// The first check of a method by this thread.
    #[cold]
    fn quick_first(&self, op: &'static Op, limited: Option<&'static Limited>, tag: u64, parts: Parts) -> Quick {
        let resolved = self.resolve(op, limited);
        let budgets = self.budgets.load().len();
        let now = self.clock.now();
        if desk::prepare(self.id, &self.registry, op, resolved.clone(), budgets)
            && let Some(quick) =
                desk::at(self.id, op.id(), |post, stripes| self.take_here(post, stripes, now, tag, parts))
        {
            return quick;
        }
        // The thread is ending.
        let post = Post { resolved, tally: Arc::default() };
        self.take_here(&post, &mut vec![Stripe::default(); budgets], now, tag, parts)
    }

    #[inline]
    fn take_here(&self, post: &Post, stripes: &mut [Stripe], now: u64, tag: u64, parts: Parts) -> Quick {
        let resolved = &*post.resolved;
        let cost = resolved.cost;
        if parts.shared() {
            if let Some(stop) = self.take_shared(&resolved.database, stripes, now, cost) {
                return self.stop(post, Scope::Database, stop);
            }
            if let Some(stop) = self.take_shared(&resolved.global, stripes, now, cost) {
                put_back(&resolved.database, stripes, cost);
                return self.stop(post, Scope::Global, stop);
            }
        }
        let mut user = None;
        if parts.user()
            && let Some(budget) = &resolved.user
        {
            match self.take_user(budget, now, tag, cost) {
                Ok(at) => user = Some((tag, at)),
                Err(stop) => {
                    if parts.shared() {
                        put_back(&resolved.database, stripes, cost);
                        put_back(&resolved.global, stripes, cost);
                    }
                    return self.stop(post, Scope::User, stop);
                }
            }
            post.tally.count(Scope::User, Outcome::Admitted);
        }
        if parts.shared() {
            for budget in [&resolved.database, &resolved.global].into_iter().flatten() {
                post.tally.count(budget.scope, Outcome::Admitted);
            }
        }
        Quick::Admitted(Permits { user, cost })
    }

    fn stop(&self, post: &Post, scope: Scope, stop: Option<Full>) -> Quick {
        match stop {
            Some(full) => {
                post.tally.count(scope, Outcome::Refused);
                Quick::Full(scope, full)
            }
            None => Quick::Ask,
        }
    }

    #[inline]
    fn take_shared(
        &self,
        budget: &Option<Arc<Budget>>,
        stripes: &mut [Stripe],
        now: u64,
        cost: u32,
    ) -> Option<Option<Full>> {
        let budget = budget.as_ref()?;
        let Some(stripe) = stripes.get_mut(budget.number) else { return Some(None) };
        if stripe.take(now, cost) { None } else { self.refill(budget, stripe, now, cost) }
    }

    #[cold]
    fn refill(&self, budget: &Budget, stripe: &mut Stripe, now: u64, cost: u32) -> Option<Option<Full>> {
        let threads = self.registry.desks();
        if self.store.is_some() {
            match budget.refill_from_lease(now, cost, threads) {
                Some(new) => *stripe = new,
                None => return Some(budget.with(0, now, |cell, _| cell.is_closed(now, cost))),
            }
            return None;
        }
        match budget.refill(now, cost, threads) {
            Ok(new) => *stripe = new,
            Err(full) => return Some(Some(full)),
        }
        None
    }

    /// When it was charged; otherwise when there will be more, or nothing where that has to be asked.
    #[inline]
    fn take_user(&self, budget: &Budget, now: u64, tag: u64, cost: u32) -> Result<u64, Option<Full>> {
        let special = budget.overridable && self.overrides.any();
        budget.with(tag, now, |cell, shared| {
            if special && now >= cell.limit_until && !shared && !self.know_limit(cell, now, tag) {
                return Err(None);
            }
            if cell.take_left(now, cost) {
                return Ok(if self.store.is_some() { cell.until } else { now });
            }
            self.take_more(budget, cell, now, cost).map(|()| now)
        })
    }

    #[inline(never)]
    fn take_more(&self, budget: &Budget, cell: &mut Cell, now: u64, cost: u32) -> Result<(), Option<Full>> {
        if self.store.is_some() {
            return Err(cell.is_closed(now, cost));
        }
        let own = cell.limit.clone();
        cell.draw(own.as_deref().unwrap_or(&budget.limit), now, cost, 1.0, |_| cost).map(drop).map_err(Some)
    }

    /// Finds out whether a user has another limit, if that needs no waiting.
    #[cold]
    fn know_limit(&self, cell: &mut Cell, now: u64, tag: u64) -> bool {
        let (_, user) = Context::caller_name();
        let same = user.as_deref().is_some_and(|user| context::tag(context::USER, user) == tag);
        match self.overrides.known(user.as_deref().filter(|_| same), now) {
            Known::Limit(limit, until) => {
                cell.become_limited(limit, until);
                true
            }
            Known::Unknown => false,
        }
    }

    /// The budgets of a method.
    pub(super) fn resolve(&self, op: &'static Op, limited: Option<&'static Limited>) -> Arc<Resolved> {
        let mut known = self.adding.lock();
        if let Some(resolved) = known.get(&op.id()) {
            return resolved.clone();
        }
        let own = |rates: Rates, scope: Scope| {
            let name = format!("{}-{scope}", op.name().replace("::", "."));
            self.add(scope, name.into(), rates, false)
        };
        let (user, global) = match limited {
            None => (None, None),
            Some(limited) => {
                let (user, global) = (limited.own_per_user(), limited.own_global());
                (
                    if user.is_empty() { self.per_user.clone() } else { own(user, Scope::User) },
                    if global.is_empty() { self.global.clone() } else { own(global, Scope::Global) },
                )
            }
        };
        let cost = limited.map_or(1, Limited::begins_with);
        let resolved = Arc::new(Resolved { user, global, database: self.database.clone(), cost });
        known.insert(op.id(), resolved.clone());
        resolved
    }

    /// The refusal as it is told.
    pub(super) fn refused(&self, op: &'static Op, resolved: &Resolved, scope: Scope, tag: u64, full: Full) -> Refused {
        let now = self.clock.now();
        let cost = resolved.cost;
        let budget = resolved.budgets(Parts::All).find(|budget| budget.scope == scope);
        let limit = budget.map(|budget| {
            let own = budget.with(tag, now, |cell, _| cell.limit.clone());
            own.unwrap_or_else(|| budget.limit.clone())
        });
        let rate = limit
            .as_ref()
            .and_then(|limit| limit.rate(full.window))
            .unwrap_or(Rate { count: std::num::NonZeroU32::MIN, window: Duration::from_secs(1) });
        let never = limit.and_then(|limit| limit.rates.least()).is_some_and(|least| least.get() < cost);
        if never && !self.complained.swap(true, Relaxed) {
            tracing::error!(target: "dbopt::limit", method = op.name(), cost, limit = %rate, "a method costs more than its limit: every call of it is refused");
        }
        Refused {
            method: op.name(),
            scope,
            limit: rate,
            cost,
            retry_after: Duration::from_millis(full.free_at.saturating_sub(now).max(1)),
            cause: if never { LimitCause::CostAboveLimit } else { LimitCause::UsedUp },
        }
    }

    /// Counts an outcome that was not decided at the desk.
    pub(super) fn count(&self, op: &'static Op, resolved: &Arc<Resolved>, scope: Scope, outcome: Outcome) {
        let count = || desk::at(self.id, op.id(), |post, _| post.tally.count(scope, outcome));
        if count().is_none() {
            desk::prepare(self.id, &self.registry, op, resolved.clone(), self.budgets.load().len());
            count();
        }
    }

    /// Counts an administrator's call, which nothing refuses.
    fn bypass(
        &self,
        op: &'static Op,
        limited: Option<&'static Limited>,
        resolved: &Arc<Resolved>,
        tag: u64,
        parts: Parts,
        who: Who<'_>,
    ) {
        let name = || match who {
            Who::Caller => Context::caller_name().0,
            Who::Key(key) => format!("a:{key}"),
        };
        let _ = limited;
        for budget in resolved.budgets(parts) {
            self.count(op, resolved, budget.scope, Outcome::Bypassed);
            self.force(budget, tag, name, resolved.cost);
        }
    }

    /// Counts what is not to be refused.
    pub(super) fn force(&self, budget: &Budget, tag: u64, name: impl FnOnce() -> String, cost: u32) {
        let now = self.clock.now();
        budget.with(tag, now, |cell, shared| {
            let own = cell.limit.clone();
            let limit = own.as_deref().unwrap_or(&budget.limit);
            if self.store.is_none() {
                cell.force(limit, now, cost);
            } else if !cell.take_left(now, cost) {
                if cell.name.is_none() && !shared {
                    cell.name = Some(self.key(budget, &name()));
                }
                cell.owe(limit, now, cost);
            }
        });
    }

    /// What a call that counts as its time has cost on its connection.
    pub fn took(&self, limited: &'static Limited, who: Who<'_>, took: Duration) {
        if !limited.is_by_time() || !self.enabled {
            return;
        }
        let more = u32::try_from(took.as_millis()).unwrap_or(u32::MAX).saturating_sub(limited.begins_with());
        if more == 0 {
            return;
        }
        let tag = match who {
            Who::Caller => Context::caller().0,
            Who::Key(key) => context::tag(context::ARGUMENT, text(key, &mut String::new())),
        };
        let name = || match who {
            Who::Caller => Context::caller_name().0,
            Who::Key(key) => format!("a:{key}"),
        };
        let resolved = self.resolve(limited.op(), Some(limited));
        for budget in [&resolved.user, &resolved.global].into_iter().flatten() {
            self.force(budget, tag, name, more);
        }
    }

    /// Gives back what a call took of its caller's limit: it was refused further on.
    pub fn give_back(&self, limited: &'static Limited, permits: Permits) {
        let resolved = self.resolve(limited.op(), Some(limited));
        if let (Some(budget), Some((tag, at))) = (&resolved.user, permits.user) {
            self.give_back_to(budget, tag, at, permits.cost);
        }
    }

    pub(super) fn give_back_to(&self, budget: &Budget, tag: u64, at: u64, cost: u32) {
        let now = self.clock.now();
        budget.with(tag, now, |cell, _| {
            let own = cell.limit.clone();
            if self.store.is_none() {
                cell.give_back(own.as_deref().unwrap_or(&budget.limit), now, at, cost);
            } else if cell.until == at {
                // Of the lease that it came from; otherwise it stays counted.
                cell.left += cost;
            }
        });
    }

    /// Sets who is asked for limits of single users in place of `limit.per_user`. Answers are kept for `limit.users_ttl`; `None` means
    /// the configured limit. False if somebody is asked already.
    pub fn set_user_limits<F, A>(&self, ask: F) -> bool
    where
        F: Fn(String) -> A + Send + Sync + 'static,
        A: Future<Output = Option<Rates>> + Send + 'static,
    {
        self.overrides.set(ask)
    }

    /// A caller's key in Redis: names are hashed, as they may be long, and personal.
    pub(super) fn key(&self, budget: &Budget, name: &str) -> Arc<str> {
        let prefix = self.store.as_ref().map_or("", |store| store.prefix());
        match budget.scope {
            Scope::User => {
                let hash = siphasher::sip128::SipHasher13::new_with_keys(0x6462_6f70_745f_6c31, 0x6c69_6d69_745f_6b79);
                let hash = hash.hash(name.as_bytes()).as_u128();
                format!("{prefix}{}:{hash:032x}", budget.name).into()
            }
            _ => format!("{prefix}{}", budget.name).into(),
        }
    }

    /// The part of each limit that this instance admits without Redis.
    pub(super) fn share(&self) -> f64 {
        match (&self.store, self.local_share > 0.0) {
            (_, true) => self.local_share,
            (Some(store), false) => 1.0 / store.instances() as f64,
            (None, false) => 1.0,
        }
    }

    pub(super) fn all_budgets(&self) -> Arc<Vec<Arc<Budget>>> {
        self.budgets.load_full()
    }

    /// The background loops.
    pub fn tasks(self: &Arc<Self>) -> Vec<Task> {
        if !self.enabled {
            return Vec::new();
        }
        let mut tasks: Vec<Task> = Vec::new();
        match &self.store {
            None => {
                let limiter = self.clone();
                tasks.push(("move the limits' clock on", Box::pin(async move { limiter.clock.run().await })));
            }
            Some(store) => {
                let owner: Weak<dyn redis::Owner> = {
                    let weak: Weak<Limiter> = Arc::downgrade(self);
                    weak
                };
                tasks.push(("keep the limits' connection", Box::pin(redis::keep(store.clone(), owner))));
                for _ in 0..redis::LANES {
                    tasks.push(("ask for permits", Box::pin(redis::lane(store.clone()))));
                }
                let limiter = Arc::downgrade(self);
                let sweep = async move {
                    loop {
                        tokio::time::sleep(SWEEP).await;
                        let Some(limiter) = limiter.upgrade() else { return };
                        limiter.sweep(false).await;
                    }
                };
                tasks.push(("give permits back", Box::pin(sweep)));
            }
        }
        tasks
    }

    /// Gives all permits back that this instance still holds.
    pub async fn shutdown(&self) {
        self.sweep(true).await;
    }
}

impl Resolved {
    /// The budgets that a check of these parts takes from.
    pub(super) fn budgets(&self, parts: Parts) -> impl Iterator<Item = &Arc<Budget>> {
        let shared = [&self.database, &self.global].into_iter().filter(move |_| parts.shared());
        shared.chain([&self.user].into_iter().filter(move |_| parts.user())).flatten()
    }
}

fn put_back(budget: &Option<Arc<Budget>>, stripes: &mut [Stripe], cost: u32) {
    if let Some(stripe) = budget.as_ref().and_then(|budget| stripes.get_mut(budget.number)) {
        stripe.left += cost;
    }
}

/// A key's text; without copying where it is a constant.
pub(super) fn text<'a>(key: fmt::Arguments<'a>, copy: &'a mut String) -> &'a str {
    match key.as_str() {
        Some(text) => text,
        None => {
            *copy = key.to_string();
            copy
        }
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("enabled", &self.enabled)
            .field("redis", &self.store.is_some())
            .finish_non_exhaustive()
    }
}
