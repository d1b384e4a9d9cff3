//! The limits of an instance: what they are, where they are counted, and the work in the background.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::budget::{Budget, Place, Resolved};
use super::cell::Limit;
use super::clock::{Clock, SLACK};
use super::config::{Config, WhenLost};
use super::desk::Registry;
use super::method::Limited;
use super::overrides::Overrides;
use super::remote::{self, Store};
use super::table::Table;
use super::window::millis;
use crate::background::Task;
use crate::op::Op;
use crate::rate::{Rates, Scope};
use crate::redis_link::LANES;

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
    pub(super) budgets: ArcSwap<Vec<Arc<Budget>>>,
    adding: Mutex<HashMap<usize, Arc<Resolved>>>,
    pub(super) overrides: Overrides,
    pub(super) registry: Arc<Registry>,
    pub(super) expired: AtomicU64,
    pub(super) complained: AtomicBool,
    pub(super) me: Weak<Limiter>,
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
                let owner: Weak<dyn remote::Owner> = {
                    let weak: Weak<Limiter> = Arc::downgrade(self);
                    weak
                };
                tasks.push(("keep the limits' connection", Box::pin(remote::keep(store.clone(), owner))));
                for _ in 0..LANES {
                    tasks.push(("ask for permits", Box::pin(remote::lane(store.clone()))));
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

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("enabled", &self.enabled)
            .field("redis", &self.store.is_some())
            .finish_non_exhaustive()
    }
}
