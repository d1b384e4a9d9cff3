//! A `#[cached]` method that is answered from memory, beside the same method under the peers' attributes, in alternating rounds:
//! `cargo bench -p dbopt-tests --bench annotated`. `BENCH_ROUNDS` and `BENCH_MILLIS` make it shorter; `BENCH_ONLY=0` runs one contender
//! alone with one task, for a profiler or an instruction counter; `-- redis` runs only the part about Redis.
#![allow(missing_docs, clippy::expect_used)]

use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cached::macros::concurrent_cached;
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use dbopt_tests::measure::{Counting, allocations, number, ratio, spread, turns};
use diesel::QueryResult;
use tokio::time::Instant;

type Value = Arc<[u8; 200]>;

const KEYS: usize = 500;

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

    #[cached(tags = ["text:{id}", "texts", "rows"], layers = "l2", ttl = "1h")]
    async fn text(&self, conn: &mut Conn, id: u64) -> QueryResult<String> {
        let _ = conn;
        Ok("x".repeat(300) + &id.to_string())
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

const NAMES: [&str; 4] =
    ["dbopt #[cached]", "cached #[concurrent_cached]", "moka try_get_with_by_ref", "quick_cache (no TTL)"];

/// Nanoseconds per call over all tasks, and allocations per call.
async fn round(which: usize, text: bool, rows: &Rows, tasks: usize, calls: usize) -> (f64, f64) {
    let before = allocations();
    let start = Instant::now();
    let running: Vec<_> =
        (0..tasks).map(|task| tokio::spawn(run(which, text, rows.clone(), task, calls / tasks))).collect();
    for task in running {
        task.await.expect("no task panics");
    }
    let took = start.elapsed().as_nanos() as f64;
    let allocated = allocations() - before;
    (took / calls as f64, allocated as f64 / calls as f64)
}

/// Results from Redis: a value and the generations of its three tags, beside the same commands sent bare.
async fn from_redis(
    rows: &Rows,
    redis: redis::aio::MultiplexedConnection,
    tasks: usize,
    calls: usize,
    bare: bool,
) -> (f64, Vec<Duration>) {
    let start = Instant::now();
    let each = calls / tasks;
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (rows, mut redis) = (rows.clone(), redis.clone());
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(each);
                for n in 0..each {
                    let id = ((task * 7 + n * 181) % KEYS) as u64;
                    let began = Instant::now();
                    if bare {
                        let mut pipe = redis::pipe();
                        pipe.get(format!("bare:{id}")).mget(&[format!("tag:{id}"), "tag:a".into(), "tag:b".into()]);
                        let found: (Option<String>, Vec<Option<String>>) =
                            pipe.query_async(&mut redis).await.expect("Redis answers");
                        black_box(found);
                    } else {
                        black_box(rows.text(id).await.expect("a value"));
                    }
                    times.push(began.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in running {
        times.append(&mut task.await.expect("no task panics"));
    }
    let per_second = times.len() as f64 / start.elapsed().as_secs_f64();
    times.sort_unstable();
    (per_second, times)
}

async fn redis_section(cluster: &Cluster, rows: &Rows, count: usize) {
    let client = redis::Client::open(cluster.redis().expect("Redis").url()).expect("a URL");
    let mut redis = client.get_multiplexed_async_connection().await.expect("Redis is there");
    for id in 0..KEYS {
        let mut pipe = redis::pipe();
        pipe.set(format!("bare:{id}"), "x".repeat(300)).set(format!("tag:{id}"), 1).set("tag:a", 1).set("tag:b", 1);
        pipe.exec_async(&mut redis).await.expect("Redis takes it");
        rows.text(id as u64).await.expect("a value");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for tasks in [1, 64, 256] {
        let calls = if tasks == 1 { 5_000 } else { 60_000 };
        let loads = rows.db.cache().status().loads;
        let (mut ours, mut theirs, mut p99) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            theirs.push(from_redis(rows, redis.clone(), tasks, calls, true).await.0);
            let (per_second, times) = from_redis(rows, redis.clone(), tasks, calls, false).await;
            ours.push(per_second);
            p99.push(times[times.len() * 99 / 100].as_secs_f64() * 1e3);
        }
        println!(
            "\nfrom Redis, {tasks} tasks: dbopt {}/s, GET + MGET bare {}/s, ratio {}, p99 {} ms; {} were loaded",
            spread(ours.clone()),
            spread(theirs.clone()),
            ratio(&ours, &theirs),
            spread(p99),
            rows.db.cache().status().loads - loads
        );
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let cluster = Cluster::builder().replicas(0).start().await.expect("servers");
    let mut config = Config::for_urls([cluster.primary().url()]);
    config.cache.redis = cluster.redis().expect("Redis").url().as_str().into();
    // The look-ups themselves are measured, not what happens when Redis is late.
    config.cache.timeout = Duration::from_millis(100);
    let rows = Rows { db: Db::connect(config).await.expect("the server is reachable") };
    let calls = number("BENCH_MILLIS", 40) * 10_000;
    if let Ok(which) = std::env::var("BENCH_ONLY") {
        let which = which.parse().expect("a contender's number");
        run(which, number("BENCH_TEXT", 0) == 1, rows.clone(), 0, calls).await;
        println!("{}: {calls} calls", NAMES[which]);
        return;
    }
    let count = number("BENCH_ROUNDS", 11);
    if std::env::args().any(|argument| argument == "redis") {
        return redis_section(&cluster, &rows, count).await;
    }
    for text in [false, true] {
        for tasks in [1, 2, 64] {
            let mut results = vec![Vec::new(); NAMES.len()];
            let mut allocated = vec![0.0; NAMES.len()];
            for (counts, which) in turns(NAMES.len(), count) {
                let (nanos, per_call) = round(which, text, &rows, tasks, calls).await;
                if counts {
                    results[which].push(nanos);
                    allocated[which] = per_call;
                }
            }
            let key = if text { "&str" } else { "u64" };
            println!("\nhits, key {key}, {tasks} tasks, {count} rounds of {calls} calls; dbopt as a share of each");
            for (which, name) in NAMES.iter().enumerate() {
                let (nanos, share) = (spread(results[which].clone()), ratio(&results[0], &results[which]));
                println!("{name:<30}{nanos:<28} ns  {share:<24}{:.3} allocations", allocated[which]);
            }
        }
    }
    redis_section(&cluster, &rows, count).await;
}
