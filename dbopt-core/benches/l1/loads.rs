//! Calls of which some miss and load: Zipf 0.99 over 10,000 keys, 1000 places.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::Duration;

use cached::macros::concurrent_cached;
use dbopt_core::cache::l1::Policy;

use crate::common::{Numbers, Ours, SIZE, Value, rounds, table, time, value, zipf};

static TRACE: LazyLock<Vec<u64>> = LazyLock::new(|| zipf(10_000, 0.99, 1 << 20, &mut Numbers(42)));
static LRU: LazyLock<Ours> = LazyLock::new(|| Ours::new(Policy::Lru));
static SCAN: LazyLock<Ours> = LazyLock::new(|| Ours::new(Policy::ScanResistant));
static QUICK: LazyLock<quick_cache::sync::Cache<u64, Value>> =
    LazyLock::new(|| quick_cache::sync::Cache::new(SIZE.get()));
static MOKA: LazyLock<moka::future::Cache<u64, Value>> = LazyLock::new(|| {
    moka::future::Cache::builder().max_capacity(SIZE.get() as u64).time_to_live(Duration::from_secs(60)).build()
});

#[concurrent_cached(max_size = 1000, ttl_secs = 60)]
async fn sharded(id: u64) -> Result<Value, Infallible> {
    Ok(value(id))
}

macro_rules! round {
    ($tasks:expr, $each:expr, $turn:expr, $id:ident => $call:expr) => {{
        let turn: usize = $turn;
        time($tasks, $each, move |task, each| async move {
            let start = (turn * 131 + task * 17_377) % (TRACE.len() / 2);
            for i in 0..each {
                let $id = TRACE[(start + i) % TRACE.len()];
                black_box($call);
            }
        })
        .await
    }};
}

pub(crate) async fn run_all() {
    let ticking = tokio::spawn(async { LRU.l1.clock().run().await });
    let also = tokio::spawn(async { SCAN.l1.clock().run().await });
    let names = [
        "dbopt, LRU",
        "dbopt, scan resistant",
        "cached #[concurrent_cached]",
        "moka try_get_with_by_ref",
        "quick_cache get_or_insert_async (no TTL)",
    ];
    let (count, length) = rounds();
    for tasks in [1usize, 2] {
        let each = (length.as_nanos() as usize / 150 / tasks).max(1000);
        let mut all = vec![Vec::new(); names.len()];
        for turn in 0..=count {
            let load = async |id| Ok::<_, Infallible>(value(id));
            all[0]
                .push(round!(tasks, each, turn, id => LRU.call((id,), async || load(id).await).await.expect("loads")));
            all[1]
                .push(round!(tasks, each, turn, id => SCAN.call((id,), async || load(id).await).await.expect("loads")));
            all[2].push(round!(tasks, each, turn, id => sharded(id).await.expect("loads")));
            all[3].push(round!(tasks, each, turn, id => {
                MOKA.try_get_with_by_ref(&id, async { Ok::<_, Infallible>(value(id)) }).await.expect("loads")
            }));
            all[4].push(round!(tasks, each, turn, id => {
                QUICK.get_or_insert_async(&id, async { Ok::<_, Infallible>(value(id)) }).await.expect("loads")
            }));
        }
        all.iter_mut().for_each(|times| {
            times.remove(0);
        });
        table(&format!("load on miss, Zipf 0.99, {tasks} threads"), &names, &all);
    }
    let share = |ours: &Ours| {
        let stats = ours.l1.stats();
        stats.hits as f64 / (stats.hits + stats.misses) as f64
    };
    println!("  found: LRU {:.3}, scan resistant {:.3}", share(&LRU), share(&SCAN));
    ticking.abort();
    also.abort();
}
