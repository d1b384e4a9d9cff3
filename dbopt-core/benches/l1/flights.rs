//! Single flight: a thousand misses at once, and fifty of a load that fails, beside a map with a watch channel.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use dbopt_core::cache::flight::Flights;
use dbopt_core::key::with_key;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::common::{Numbers, rounds, spread};

type Shared = Result<u64, Arc<str>>;
type Floor = Arc<Mutex<HashMap<u64, watch::Receiver<Option<Shared>>>>>;

static LOADS: AtomicU64 = AtomicU64::new(0);
static SEED: LazyLock<Mutex<Numbers>> = LazyLock::new(|| Mutex::new(Numbers(7)));

async fn load(key: u64, fails: bool) -> Result<u64, std::io::Error> {
    LOADS.fetch_add(1, Ordering::Relaxed);
    sleep(Duration::from_millis(10)).await;
    if fails { Err(std::io::Error::other("no such table")) } else { Ok(key) }
}

async fn floor(map: Floor, key: u64, fails: bool) -> Shared {
    let (sender, mut receiver) = {
        let mut map = map.lock().expect("nobody panics");
        match map.get(&key) {
            Some(receiver) => (None, receiver.clone()),
            None => {
                let (sender, receiver) = watch::channel(None);
                map.insert(key, receiver.clone());
                (Some(sender), receiver)
            }
        }
    };
    let Some(sender) = sender else {
        let seen = receiver.wait_for(Option::is_some).await.expect("the leader stays");
        return seen.clone().expect("waited for it");
    };
    let result = load(key, fails).await.map_err(|error| Arc::from(error.to_string()));
    map.lock().expect("nobody panics").remove(&key);
    let _ = sender.send(Some(result.clone()));
    result
}

async fn ours(flights: Arc<Flights>, key: u64, fails: bool) -> Shared {
    let key_of = with_key(1, &key, |key| key.to_key()).expect("a number is a key");
    let share = |error: &std::io::Error| error.to_string();
    flights.load(key_of.as_ref(), async || load(key, fails).await, share).await.map_err(|_| Arc::from("failed"))
}

/// Milliseconds until all are answered, and the loads that were made.
async fn run(is_ours: bool, callers: u64, keys: u64, fails: bool) -> (f64, u64) {
    let (flights, map) = (Arc::new(Flights::new()), Floor::default());
    let salt = SEED.lock().expect("nobody panics").next() << 16;
    LOADS.store(0, Ordering::Relaxed);
    let start = Instant::now();
    let running: Vec<_> = (0..callers)
        .map(|i| {
            let key = salt + i % keys;
            let (flights, map) = (flights.clone(), map.clone());
            match is_ours {
                true => tokio::spawn(ours(flights, key, fails)),
                false => tokio::spawn(floor(map, key, fails)),
            }
        })
        .collect();
    for one in running {
        assert_eq!(one.await.expect("no panic").is_err(), fails);
    }
    (start.elapsed().as_secs_f64() * 1e3, LOADS.load(Ordering::Relaxed))
}

pub(crate) async fn run_all() {
    println!("\nsingle flight of loads that take 10 ms, dbopt beside a map with a watch channel");
    for (title, callers, keys, fails) in [
        ("1000 misses of 1 key", 1000, 1, false),
        ("1000 misses of 100 keys", 1000, 100, false),
        ("50 misses, the load fails", 50, 1, true),
    ] {
        let (mut times, mut ratios, mut loads) = (Vec::new(), Vec::new(), 0);
        for _ in 0..rounds().0 {
            let (floor, _) = run(false, callers, keys, fails).await;
            let (mine, made) = run(true, callers, keys, fails).await;
            times.push(mine);
            ratios.push(mine / floor);
            loads = loads.max(made);
        }
        println!("  {title:<28} {loads:>4} loads {:>7.2} ms   {} of the floor", spread(times).0, spread(ratios).1);
    }
}
