//! Look-ups of a value with three tags beside what redis-rs does without us: `GET` and `MGET` in one pipeline.
//!
//! `cargo bench -p dbopt-core --bench l2`; `BENCH_ROUNDS` (7) alternating rounds of `BENCH_MILLIS` (400) each.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/l2/server.rs"]
mod server;

use std::sync::Arc;
use std::time::Duration;

use dbopt_core::cache::l2::Key;
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;
use tokio::time::Instant;

use server::{Instance, Server, tags};

const KEYS: usize = 100;

/// One round: operations per second, and all latencies.
struct Round {
    rate: f64,
    latencies: Vec<Duration>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let number = |name: &str, usual| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (rounds, length) = (number("BENCH_ROUNDS", 7), Duration::from_millis(number("BENCH_MILLIS", 400)));
    let server = Server::start(&[]).await;
    let instance = Arc::new(Instance::start(server.config()).await);
    let tags = Arc::new(tags(&["flight:1", "airport:FRA", "airline:LH"]));
    let keys: Arc<Vec<Key>> =
        Arc::new((0..KEYS).map(|number| Key::hashed("Flights::board", number as u128, &[7; 24])).collect());
    for key in keys.iter() {
        instance.fill(key, &tags, &[7; 300]).await;
    }
    let client = redis::Client::open(server.config().url).unwrap();
    let bare = client.get_multiplexed_async_connection().await.unwrap();
    println!(
        "{:>6} {:>10} {:>10} {:>7} {:>22} {:>22}",
        "tasks", "bare/s", "ours/s", "ratio", "bare p50/p99", "ours p50/p99"
    );
    for tasks in [1, 16, 64, 256] {
        let (mut peers, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=rounds {
            let peer = run(tasks, length, |number| peer(bare.clone(), keys.clone(), number)).await;
            let own = run(tasks, length, |number| own(instance.clone(), keys.clone(), tags.clone(), number)).await;
            // The first round warms up.
            if round > 0 {
                ratios.push(own.rate / peer.rate);
                peers.push(peer);
                ours.push(own);
            }
        }
        ratios.sort_by(f64::total_cmp);
        let ratio = ratios[ratios.len() / 2];
        let ((rate, bare), (own_rate, own)) = (summary(peers), summary(ours));
        println!("{tasks:>6} {rate:>10.0} {own_rate:>10.0} {ratio:>7.2} {bare:>22} {own:>22}");
    }
    let counts = instance.layer.counts();
    println!("look-ups per command: {:.1}", counts.hits as f64 / counts.batches as f64);
    assert_eq!((counts.timed_out, counts.absent, counts.outdated), (0, 0, 0));
}

/// Calls `start` for each task; each task's function is called again and again.
async fn run<F, C>(tasks: usize, length: Duration, start: impl Fn(usize) -> F) -> Round
where
    F: FnMut() -> C + Send + 'static,
    C: Future<Output = ()> + Send,
{
    let begin = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..tasks {
        let mut call = start(number);
        running.spawn(async move {
            let mut latencies = Vec::with_capacity(10_000);
            let mut now = Instant::now();
            while now - begin < length {
                call().await;
                let after = Instant::now();
                latencies.push(after - now);
                now = after;
            }
            latencies
        });
    }
    let latencies: Vec<Duration> = running.join_all().await.into_iter().flatten().collect();
    Round { rate: latencies.len() as f64 / begin.elapsed().as_secs_f64(), latencies }
}

fn summary(rounds: Vec<Round>) -> (f64, String) {
    let mut rates: Vec<f64> = rounds.iter().map(|round| round.rate).collect();
    rates.sort_by(f64::total_cmp);
    let mut latencies: Vec<Duration> = rounds.into_iter().flat_map(|round| round.latencies).collect();
    latencies.sort();
    let [half, most] = [50, 99].map(|percent| latencies[latencies.len() * percent / 100]);
    (rates[rates.len() / 2], format!("{half:.0?}/{most:.0?}"))
}

fn peer(
    bare: MultiplexedConnection,
    keys: Arc<Vec<Key>>,
    mut number: usize,
) -> impl FnMut() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static {
    move || {
        number = (number + 7) % KEYS;
        let (mut bare, keys) = (bare.clone(), keys.clone());
        Box::pin(async move {
            let mut pipe = redis::pipe();
            pipe.get(format!("dbopt:{{default}}:v:{}", keys[number].name())).mget(&[
                "dbopt:{default}:epoch",
                "dbopt:{default}:g:flight:1",
                "dbopt:{default}:g:airport:FRA",
                "dbopt:{default}:g:airline:LH",
            ]);
            let (value, versions): (Vec<u8>, Vec<Vec<u8>>) = pipe.query_async(&mut bare).await.unwrap();
            assert!(value.len() > 300 && versions.len() == 4);
        })
    }
}

fn own(
    instance: Arc<Instance>,
    keys: Arc<Vec<Key>>,
    tags: Arc<Vec<String>>,
    mut number: usize,
) -> impl FnMut() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static {
    move || {
        number = (number + 7) % KEYS;
        let (instance, keys, tags) = (instance.clone(), keys.clone(), tags.clone());
        Box::pin(async move {
            let found = instance.layer.look_up(&keys[number], &tags, server::SHAPE, false).await.unwrap();
            assert_eq!(found.unwrap().payload.len(), 300);
        })
    }
}
