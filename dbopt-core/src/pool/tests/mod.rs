//! The pool on a cluster in memory, in paused time: what happens "at once" takes no time at all.

mod callers;
mod circuit;
mod failures;
mod log;
mod refusals;
mod stress;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep};

use super::{Budget, Config, Lease, Pool, Share};
use crate::backend::Endpoint;
use crate::backend::fake::{FakeCluster, FakeNode};
use crate::breaker;
use crate::error::{Reason, Refusal};
use crate::op::{Intent, Lane, Op};

static OP: Op = Op::new("Things::slow", Intent::Read);

type TestPool = Arc<Pool<FakeCluster>>;
type Outcome = Result<Lease<FakeCluster>, Refusal>;

/// A pool on a node of its own, for as many connections as its share and its budget allow.
struct Bench {
    node: Arc<FakeNode>,
    pool: TestPool,
}

fn share(min: usize, max: usize) -> Share {
    Share { min, max }
}

fn bench(min: usize, max: usize) -> Bench {
    bench_with(Config::default(), min, max)
}

fn bench_with(config: Config, min: usize, max: usize) -> Bench {
    let budget = Budget::new(config.max);
    let (node, pool) = pool_on(&FakeCluster::default(), "a", &budget, config);
    pool.set_share(share(min, max));
    Bench { node, pool }
}

/// A pool on a node of its own whose circuit opens, as it does by default.
fn guarded(lane: Lane, min: usize, max: usize) -> Bench {
    let (config, budget) = (Config::default(), Budget::new(50));
    let (node, pool) = pool_with(&FakeCluster::default(), "a", lane, &budget, config, &breaker::Config::default());
    pool.set_share(share(min, max));
    Bench { node, pool }
}

fn pool_on(cluster: &FakeCluster, name: &str, budget: &Arc<Budget>, config: Config) -> (Arc<FakeNode>, TestPool) {
    let lasting = breaker::Config { enabled: false, ..breaker::Config::default() };
    pool_with(cluster, name, Lane::Read, budget, config, &lasting)
}

fn pool_with(
    cluster: &FakeCluster,
    name: &str,
    lane: Lane,
    budget: &Arc<Budget>,
    config: Config,
    breaker: &breaker::Config,
) -> (Arc<FakeNode>, TestPool) {
    let endpoint = Endpoint::new(name, format!("fake://{name}"));
    let pool = Pool::new(Arc::new(cluster.clone()), endpoint, lane, budget.clone(), Arc::new(config), breaker);
    (cluster.node(name), pool)
}

async fn acquire(pool: &TestPool) -> Outcome {
    pool.acquire(&OP, Instant::now() + Duration::from_secs(3600), true).await
}

/// As a caller that holds another connection.
async fn acquire_at_once(pool: &TestPool) -> Outcome {
    pool.acquire(&OP, Instant::now() + Duration::from_secs(3600), false).await
}

/// A caller in a task of its own, who is in the queue when this returns, if it has to wait.
async fn caller(pool: &TestPool) -> JoinHandle<Outcome> {
    let pool = pool.clone();
    let task = tokio::spawn(async move { acquire(&pool).await });
    settle().await;
    task
}

/// Lets everything happen that needs no time.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

/// Lets `time` pass with the maintenance that a runtime does every second.
async fn pass(pool: &TestPool, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        sleep(Duration::from_secs(1).min(until - Instant::now())).await;
        pool.maintain();
        settle().await;
    }
}

fn refused(outcome: Outcome) -> Refusal {
    outcome.expect_err("the pool refuses")
}

impl Bench {
    fn open(&self) -> usize {
        self.node.open.load(Ordering::SeqCst)
    }

    fn opened(&self) -> usize {
        self.node.opened.load(Ordering::SeqCst)
    }

    fn attempts(&self) -> Vec<Instant> {
        self.node.attempts.lock().clone()
    }

    fn refuse(&self, reason: Reason, message: &str) {
        *self.node.refuses.lock() = Some(crate::backend::ConnectError::new(reason, message));
    }

    async fn all_in_use(&self, count: usize) -> Vec<Lease<FakeCluster>> {
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(acquire(&self.pool).await.expect("there is room"));
        }
        held
    }
}
