//! An annotated method whose answer is in memory: 500 keys of 1000 places, values of 200 bytes behind an Arc, 60 s.

use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::Duration;

use cached::macros::{cached, concurrent_cached};

use crate::common::{OURS, SIZE, Value, allocations, rounds, table, time, value};

const KEYS: usize = 500;

type Moka<K> = moka::future::Cache<K, Value>;
type Quick<K> = quick_cache::sync::Cache<K, Value>;

fn moka<K: std::hash::Hash + Eq + Send + Sync + 'static>() -> Moka<K> {
    moka::future::Cache::builder().max_capacity(SIZE.get() as u64).time_to_live(Duration::from_secs(60)).build()
}

static MOKA: LazyLock<Moka<u64>> = LazyLock::new(moka);
static MOKA_TEXT: LazyLock<Moka<String>> = LazyLock::new(moka);
static QUICK: LazyLock<Quick<u64>> = LazyLock::new(|| Quick::new(SIZE.get()));
static QUICK_TEXT: LazyLock<Quick<String>> = LazyLock::new(|| Quick::new(SIZE.get()));
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| (0..KEYS).map(|i| format!("user:{i}:profile")).collect());

#[concurrent_cached(max_size = 1000, ttl_secs = 60)]
async fn sharded(id: u64) -> Result<Value, Infallible> {
    Ok(value(id))
}

#[cached(max_size = 1000, ttl_secs = 60)]
async fn plain(id: u64) -> Result<Value, Infallible> {
    Ok(value(id))
}

#[concurrent_cached(max_size = 1000, ttl_secs = 60, key = "String", convert = r#"{ name.to_owned() }"#)]
async fn sharded_text(name: &str) -> Result<Value, Infallible> {
    Ok(value(name.len() as u64))
}

async fn ours(id: u64) -> Value {
    OURS.call((id,), async || Ok::<_, Infallible>(value(id))).await.expect("loads")
}

async fn ours_text(name: &str) -> Value {
    OURS.call((name,), async || Ok::<_, Infallible>(value(name.len() as u64))).await.expect("loads")
}

async fn moka_get(id: u64) -> Value {
    MOKA.try_get_with_by_ref(&id, async { Ok::<_, Infallible>(value(id)) }).await.expect("loads")
}

async fn moka_text(name: &str) -> Value {
    MOKA_TEXT.try_get_with_by_ref(name, async { Ok::<_, Infallible>(value(1)) }).await.expect("loads")
}

async fn quick(id: u64) -> Value {
    QUICK.get_or_insert_async(&id, async { Ok::<_, Infallible>(value(id)) }).await.expect("loads")
}

async fn quick_text(name: &str) -> Value {
    QUICK_TEXT.get_or_insert_async(name, async { Ok::<_, Infallible>(value(1)) }).await.expect("loads")
}

/// `each` calls, each with the next key of all in a scattered order.
async fn repeat<F: Future<Output = Value>>(task: usize, each: usize, call: impl Fn(usize) -> F) {
    let mut i = task * 7;
    for _ in 0..each {
        i = (i + 181) % KEYS;
        black_box(call(i).await);
    }
}

macro_rules! contenders {
    ($($name:literal => $call:expr),* $(,)?) => {
        {
            let names = [$($name),*];
            let (count, length) = rounds();
            for tasks in [1usize, 2] {
                let mut all = vec![Vec::new(); names.len()];
                let mut allocated = vec![0.0; names.len()];
                for _ in 0..=count {
                    let mut which = 0;
                    $({
                        let each = (length.as_nanos() as usize / 100 / tasks).max(1000);
                        let run = |task: usize, each: usize| repeat(task, each, $call);
                        run(0, 2 * KEYS).await;
                        let before = allocations();
                        all[which].push(time(tasks, each, run).await);
                        allocated[which] = (allocations() - before) as f64 / (tasks * each) as f64;
                        which += 1;
                    })*
                    let _ = which;
                }
                // The first round is for warming up.
                all.iter_mut().for_each(|times| {
 times.remove(0);
 });
                table(&format!("hits, {tasks} threads"), &names, &all);
                for (name, per_hit) in names.iter().zip(allocated) {
                    println!("  {name:<42} {per_hit:>9.3} allocations per hit");
                }
            }
        }
    };
}

pub(crate) async fn run_all() {
    let ticking = tokio::spawn(async { OURS.l1.clock().run().await });
    println!("== an annotated method, key u64");
    contenders! {
        "dbopt" => |i| ours(i as u64),
        "cached #[concurrent_cached]" => |i| async move { sharded(i as u64).await.expect("loads") },
        "cached #[cached]" => |i| async move { plain(i as u64).await.expect("loads") },
        "moka try_get_with_by_ref" => |i| moka_get(i as u64),
        "quick_cache get_or_insert_async (no TTL)" => |i| quick(i as u64),
    }
    println!("\n== an annotated method, key &str");
    contenders! {
        "dbopt" => |i| ours_text(&TEXTS[i]),
        "cached #[concurrent_cached]" => |i| async move { sharded_text(&TEXTS[i]).await.expect("loads") },
        "moka try_get_with_by_ref" => |i| moka_text(&TEXTS[i]),
        "quick_cache get_or_insert_async (no TTL)" => |i| quick_text(&TEXTS[i]),
    }
    ticking.abort();
}
