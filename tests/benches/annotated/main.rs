//! A `#[cached]` method that is answered from memory, beside the same method under the peers' attributes, in alternating rounds:
//! `cargo bench -p dbopt-tests --bench annotated`. `BENCH_ROUNDS` and `BENCH_MILLIS` make it shorter; `BENCH_ONLY=0` runs one contender
//! alone with one task, for a profiler or an instruction counter.
#![allow(missing_docs, clippy::expect_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cached::macros::concurrent_cached;
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use diesel::QueryResult;
use tokio::time::Instant;

type Value = Arc<[u8; 200]>;

const KEYS: usize = 500;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
#[allow(unsafe_code, reason = "only an allocator can count allocations")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn value(id: u64) -> Value {
    Arc::new([id as u8; 200])
}

#[derive(Clone)]
struct Rows {
    db: Db,
}

#[repository]
impl Rows {
    #[cached(tags = ["row:{id}", "rows"], layers = "l1")]
    async fn by_id(&self, conn: &mut Conn, id: u64) -> QueryResult<Value> {
        let _ = conn;
        Ok(value(id))
    }

    #[cached(tags = ["rows"], layers = "l1")]
    async fn by_name(&self, conn: &mut Conn, name: &str) -> QueryResult<Value> {
        let _ = conn;
        Ok(value(name.len() as u64))
    }
}

#[concurrent_cached(max_size = 1000, ttl_secs = 60)]
async fn sharded(id: u64) -> Result<Value, Infallible> {
    Ok(value(id))
}

#[concurrent_cached(max_size = 1000, ttl_secs = 60, key = "String", convert = r#"{ name.to_owned() }"#)]
async fn sharded_text(name: &str) -> Result<Value, Infallible> {
    Ok(value(name.len() as u64))
}

type Moka<K> = moka::future::Cache<K, Value>;
type Quick<K> = quick_cache::sync::Cache<K, Value>;

fn moka<K: std::hash::Hash + Eq + Send + Sync + 'static>() -> Moka<K> {
    moka::future::Cache::builder().max_capacity(1000).time_to_live(Duration::from_secs(60)).build()
}

static MOKA: LazyLock<Moka<u64>> = LazyLock::new(moka);
static MOKA_TEXT: LazyLock<Moka<String>> = LazyLock::new(moka);
static QUICK: LazyLock<Quick<u64>> = LazyLock::new(|| Quick::new(1000));
static QUICK_TEXT: LazyLock<Quick<String>> = LazyLock::new(|| Quick::new(1000));
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| (0..KEYS).map(|i| format!("user:{i}:profile")).collect());

async fn moka_get(id: u64) -> Result<Value, Infallible> {
    Ok(MOKA.try_get_with_by_ref(&id, async { Ok::<_, Infallible>(value(id)) }).await.expect("loads"))
}

async fn moka_text(name: &str) -> Result<Value, Infallible> {
    Ok(MOKA_TEXT.try_get_with_by_ref(name, async { Ok::<_, Infallible>(value(1)) }).await.expect("loads"))
}

async fn quick(id: u64) -> Result<Value, Infallible> {
    QUICK.get_or_insert_async(&id, async { Ok(value(id)) }).await
}

async fn quick_text(name: &str) -> Result<Value, Infallible> {
    QUICK_TEXT.get_or_insert_async(name, async { Ok(value(1)) }).await
}

/// Calls with the next key of all in a scattered order.
async fn repeat<E: std::fmt::Debug, F>(task: usize, calls: usize, call: impl Fn(usize) -> F)
where
    F: Future<Output = Result<Value, E>>,
{
    let mut i = task * 7;
    for n in 0..calls {
        i = (i + 181) % KEYS;
        black_box(call(i).await.expect("a value"));
        // As a request does between its calls.
        if n % 1000 == 999 {
            tokio::task::yield_now().await;
        }
    }
}

async fn run(which: usize, text: bool, rows: Rows, task: usize, calls: usize) {
    match (which, text) {
        (0, false) => repeat(task, calls, |i| rows.by_id(i as u64)).await,
        (0, true) => repeat(task, calls, |i| rows.by_name(&TEXTS[i])).await,
        (1, false) => repeat(task, calls, |i| sharded(i as u64)).await,
        (1, true) => repeat(task, calls, |i| sharded_text(&TEXTS[i])).await,
        (2, false) => repeat(task, calls, |i| moka_get(i as u64)).await,
        (2, true) => repeat(task, calls, |i| moka_text(&TEXTS[i])).await,
        (_, false) => repeat(task, calls, |i| quick(i as u64)).await,
        (_, true) => repeat(task, calls, |i| quick_text(&TEXTS[i])).await,
    }
}

const NAMES: [&str; 4] = ["dbopt #[cached]", "cached #[concurrent_cached]", "moka try_get_with_by_ref", "quick_cache (no TTL)"];

/// Nanoseconds per call over all tasks, and allocations per call.
async fn round(which: usize, text: bool, rows: &Rows, tasks: usize, calls: usize) -> (f64, f64) {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let start = Instant::now();
    let running: Vec<_> =
        (0..tasks).map(|task| tokio::spawn(run(which, text, rows.clone(), task, calls / tasks))).collect();
    for task in running {
        task.await.expect("no task panics");
    }
    let took = start.elapsed().as_nanos() as f64;
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
    (took / calls as f64, allocated as f64 / calls as f64)
}

fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    format!("{:.3} [{:.3}-{:.3}]", values[values.len() / 2], values[0], values[values.len() - 1])
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let cluster = Cluster::builder().replicas(0).redis(false).start().await.expect("a server");
    let config = Config::for_urls([cluster.primary().url()]);
    let rows = Rows { db: Db::connect(config).await.expect("the server is reachable") };
    let calls = number("BENCH_MILLIS", 40) * 10_000;
    if let Ok(which) = std::env::var("BENCH_ONLY") {
        let which = which.parse().expect("a contender's number");
        run(which, number("BENCH_TEXT", 0) == 1, rows.clone(), 0, calls).await;
        println!("{}: {calls} calls", NAMES[which]);
        return;
    }
    let count = number("BENCH_ROUNDS", 11);
    for text in [false, true] {
        for tasks in [1, 2, 64] {
            let mut results = vec![Vec::new(); NAMES.len()];
            let mut allocations = vec![0.0; NAMES.len()];
            for n in 0..=count {
                for k in 0..NAMES.len() {
                    let which = (n + k) % NAMES.len();
                    let (nanos, allocated) = round(which, text, &rows, tasks, calls).await;
                    // The first round is for warming up.
                    if n > 0 {
                        results[which].push(nanos);
                        allocations[which] = allocated;
                    }
                }
            }
            let key = if text { "&str" } else { "u64" };
            println!("\nhits, key {key}, {tasks} tasks, {count} rounds of {calls} calls; dbopt as a share of each");
            for (which, name) in NAMES.iter().enumerate() {
                let ratios = results[0].iter().zip(&results[which]).map(|(ours, theirs)| ours / theirs).collect();
                let nanos = spread(results[which].clone());
                println!("{name:<30}{nanos:<28} ns  {:<24}{:.3} allocations", spread(ratios), allocations[which]);
            }
        }
    }
}
