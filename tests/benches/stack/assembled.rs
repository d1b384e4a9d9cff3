//! What applications put together by hand.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::time::Duration;

use cached::macros::concurrent_cached;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use metrics::{Counter, Histogram, counter, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::time::Instant;

use crate::{Value, value};

fn quota() -> Quota {
    Quota::per_minute(NonZeroU32::new(900_000_000).unwrap())
}

/// Both limits.
struct Limits {
    users: DefaultKeyedRateLimiter<String>,
    all: DefaultDirectRateLimiter,
}

impl Limits {
    fn new() -> Self {
        Limits { users: RateLimiter::keyed(quota()), all: RateLimiter::direct(quota()) }
    }

    fn check(&self, user: &String) {
        assert!(self.users.check_key(user).is_ok() && self.all.check().is_ok(), "the limits are generous");
    }
}

/// The crates that are named first when one asks, used as their front pages show.
pub(crate) struct Usual {
    cache: moka::future::Cache<u64, Value>,
    limits: Limits,
    exporter: PrometheusHandle,
}

impl Usual {
    /// Once in a process, because it installs the recorder that the macros write to.
    pub(crate) fn new() -> Self {
        let seconds = [0.000_1, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0];
        let exporter = PrometheusBuilder::new().set_buckets(&seconds).unwrap().install_recorder().unwrap();
        let minute = Duration::from_secs(60);
        let cache = moka::future::Cache::builder().max_capacity(1000).time_to_live(minute).build();
        Usual { cache, limits: Limits::new(), exporter }
    }

    pub(crate) async fn by_id(&self, user: &String, id: u64) -> Value {
        let start = Instant::now();
        self.limits.check(user);
        let found = self.cache.try_get_with_by_ref(&id, async { Ok::<_, Infallible>(value(id)) }).await.unwrap();
        counter!("calls_total", "method" => "by_id").increment(1);
        histogram!("call_seconds", "method" => "by_id").record(start.elapsed().as_secs_f64());
        found
    }

    pub(crate) fn upkeep(&self) {
        self.exporter.run_upkeep();
    }
}

#[concurrent_cached(max_size = 1000, ttl_secs = 60)]
async fn cached(id: u64) -> Result<Value, Infallible> {
    Ok(value(id))
}

/// The cache without anything else.
pub(crate) async fn cached_alone(id: u64) -> Value {
    cached(id).await.unwrap()
}

/// The fastest of each kind, with everything looked up beforehand.
pub(crate) struct Careful {
    limits: Limits,
    calls: Counter,
    seconds: Histogram,
}

impl Careful {
    pub(crate) fn new() -> Self {
        Careful {
            limits: Limits::new(),
            calls: counter!("careful_calls_total", "method" => "by_id"),
            seconds: histogram!("careful_call_seconds", "method" => "by_id"),
        }
    }

    pub(crate) async fn by_id(&self, user: &String, id: u64) -> Value {
        let start = Instant::now();
        self.limits.check(user);
        let found = cached(id).await.unwrap();
        self.calls.increment(1);
        self.seconds.record(start.elapsed().as_secs_f64());
        found
    }
}
