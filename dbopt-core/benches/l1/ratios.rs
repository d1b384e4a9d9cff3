//! How often 1000 entries have the answer, by policy, beside the peers.

use std::hash::BuildHasherDefault;

use cached::{Cached, LruCache};
use dbopt_core::cache::fence::Snapshot;
use dbopt_core::cache::l1::{Config, Fill, Hit, L1, Policy};
use dbopt_core::key::with_key;

use crate::common::{Numbers, SIZE, zipf};

const CALLS: usize = 400_000;

fn ours(policy: Policy, trace: &[u64]) -> f64 {
    let l1 = L1::new(Config { entries: SIZE, policy, ..Config::default() }, std::sync::Arc::default()).expect("valid");
    found(trace, |id| {
        with_key(1, &id, |key| {
            let hit: Option<Hit<u64>> = l1.get(key);
            if hit.is_none() {
                l1.insert(key.to_key(), Fill::new(id, [].into(), Snapshot::default()));
            }
            hit.is_some()
        })
        .expect("a number is a key")
    })
}

/// The share that was found of the second half: the first one fills the cache.
fn found(trace: &[u64], mut find: impl FnMut(u64) -> bool) -> f64 {
    let (first, second) = trace.split_at(trace.len() / 2);
    for &id in first {
        find(id);
    }
    second.iter().filter(|&&id| find(id)).count() as f64 * 100.0 / second.len() as f64
}

fn lru(trace: &[u64]) -> f64 {
    let mut cache: LruCache<u64, (), BuildHasherDefault<std::hash::DefaultHasher>> =
        LruCache::builder().max_size(SIZE.get()).hasher(BuildHasherDefault::default()).build().expect("valid");
    found(trace, |id| cache.cache_get(&id).is_some() || cache.cache_set(id, ()).is_some())
}

fn quick(trace: &[u64]) -> f64 {
    let mut cache = quick_cache::unsync::Cache::new(SIZE.get());
    found(trace, |id| {
        let hit = cache.get(&id).is_some();
        if !hit {
            cache.insert(id, ());
        }
        hit
    })
}

pub(crate) fn run_all() {
    let mut numbers = Numbers(99);
    let skewed = zipf(10_000, 0.99, CALLS, &mut numbers);
    let mut scanned = Vec::with_capacity(CALLS);
    for (i, &id) in skewed.iter().enumerate() {
        scanned.push(if i % 3 == 2 { 1_000_000 + i as u64 } else { id });
    }
    let traces = [
        ("Zipf 0.8", zipf(10_000, 0.8, CALLS, &mut numbers)),
        ("Zipf 0.99", skewed),
        ("Zipf 0.99 and a third scans", scanned),
        ("loop of 1200", (0..CALLS as u64).map(|i| i % 1200).collect()),
    ];
    println!("\nfound of all calls, in %, 1000 entries, 10,000 keys");
    println!("  {:<30} {:>10} {:>16} {:>10} {:>12}", "", "dbopt LRU", "scan resistant", "exact LRU", "quick_cache");
    for (name, trace) in &traces {
        let (a, b) = (ours(Policy::Lru, trace), ours(Policy::ScanResistant, trace));
        println!("  {name:<30} {a:>10.1} {b:>16.1} {:>10.1} {:>12.1}", lru(trace), quick(trace));
    }
}
