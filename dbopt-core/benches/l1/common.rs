//! A method that is answered by dbopt's cache, and what it is asked for.

#[path = "../measure/mod.rs"]
mod measure;

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use dbopt_core::cache::fence::Fences;
use dbopt_core::cache::flight::{Flights, LoadError};
use dbopt_core::cache::l1::{Config, Fill, L1, Policy};
use dbopt_core::key::with_key;
use serde::Serialize;
use tokio::time::Instant;

pub(crate) use measure::{Counting, allocations, rounds, spread, table};

const WARM_UP: usize = 2000;

pub(crate) type Value = Arc<[u8; 200]>;

/// dbopt's cache as a runtime holds it.
pub(crate) struct Ours {
    pub(crate) l1: L1,
    flights: Arc<Flights>,
    tags: Arc<[Arc<str>]>,
}

impl Ours {
    pub(crate) fn new(policy: Policy) -> Self {
        let config = Config { policy, ..Config::default() };
        let l1 = L1::new(config, Arc::new(Fences::new())).expect("the defaults are valid");
        Ours { l1, flights: Arc::default(), tags: [Arc::from("rows")].into() }
    }

    /// What an annotated method does: key, lookup, and on a miss one load for all, kept with its tag.
    #[inline]
    pub(crate) async fn call<A, E, L>(&self, args: A, load: L) -> Result<Value, LoadError<E, ()>>
    where
        A: Serialize,
        L: AsyncFnOnce() -> Result<Value, E>,
    {
        match with_key(1, &args, |key| self.l1.get::<Value>(key)) {
            Ok(Some(hit)) => Ok(hit.value),
            _ => self.miss(args, load).await,
        }
    }

    async fn miss<A, E, L>(&self, args: A, load: L) -> Result<Value, LoadError<E, ()>>
    where
        A: Serialize,
        L: AsyncFnOnce() -> Result<Value, E>,
    {
        let Ok(key) = with_key(1, &args, |key| key.to_key()) else { return load().await.map_err(LoadError::Own) };
        let loading = async || {
            let snapshot = self.l1.fences().snapshot(&self.tags);
            let value = load().await?;
            self.l1.insert(key.clone(), Fill::new(value.clone(), self.tags.clone(), snapshot));
            Ok(value)
        };
        self.flights.load(key.as_ref(), loading, |_| ()).await
    }
}

pub(crate) static OURS: LazyLock<Ours> = LazyLock::new(|| Ours::new(Policy::Lru));

pub(crate) fn value(of: u64) -> Value {
    let mut bytes = [0; 200];
    bytes[..8].copy_from_slice(&of.to_le_bytes());
    Arc::new(bytes)
}

pub(crate) const SIZE: NonZeroUsize = NonZeroUsize::new(1000).expect("more than none");

/// Nanoseconds per operation, wall time over all operations, of `tasks` tasks that do `each` of them on two threads.
///
/// Each thread drives its share itself: tasks that never wait could all end up on one worker.
pub(crate) async fn time<O, F>(tasks: usize, each: usize, operation: O) -> f64
where
    O: Fn(usize, usize) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let threads = tasks.min(2);
    let barrier = Arc::new(std::sync::Barrier::new(threads));
    let running: Vec<_> = (0..threads)
        .map(|thread| {
            let (operation, barrier) = (operation.clone(), barrier.clone());
            let handle = tokio::runtime::Handle::current();
            std::thread::spawn(move || {
                handle.block_on(async {
                    // Whatever the thread needs for its first call.
                    operation(thread, WARM_UP).await;
                    barrier.wait();
                    let start = Instant::now();
                    for task in (thread..tasks).step_by(threads) {
                        operation(task, each).await;
                    }
                    (start, Instant::now())
                })
            })
        })
        .collect();
    let spans: Vec<_> = running.into_iter().map(|one| one.join().expect("no operation panics")).collect();
    let start = spans.iter().map(|(start, _)| *start).min();
    let end = spans.iter().map(|(_, end)| *end).max();
    let took = start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start);
    took.as_nanos() as f64 / (tasks * each) as f64
}

/// A generator of numbers that is the same in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// `count` numbers below `keys`, the first ones the most frequent.
pub(crate) fn zipf(keys: usize, exponent: f64, count: usize, numbers: &mut Numbers) -> Vec<u64> {
    let mut sums = Vec::with_capacity(keys);
    let mut sum = 0.0;
    for i in 1..=keys {
        sum += (i as f64).powf(-exponent);
        sums.push(sum);
    }
    let one = |_| {
        let at = numbers.share() * sum;
        sums.partition_point(|&up_to| up_to < at).min(keys - 1) as u64
    };
    (0..count).map(one).collect()
}
