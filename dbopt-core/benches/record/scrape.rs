//! A scrape of an application with 200 methods on 5 nodes, and the calls beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use dbopt_core::backend::fake::FakeCluster;
use dbopt_core::observe::{
    Calls, Gauges, HistogramCounts, Outcome, StatementCounts, StatementSeries, classic, openmetrics,
};
use dbopt_core::op::{Intent, Lane, Op};
use dbopt_core::runtime::http::router;
use dbopt_core::runtime::{Config, Runtime};
use tokio::time::{Instant, sleep};
use tower::ServiceExt as _;

use crate::measure::{rounds, spread};

const METHODS: usize = 200;
const NODES: usize = 5;

/// What a scraper may do at worst; the usual one comes every 15 s.
const BETWEEN_SCRAPES: Duration = Duration::from_millis(100);

fn methods() -> Vec<&'static Op> {
    let method = |n| {
        let name: &'static str = Box::leak(format!("Repository{}::method_{n}", n % 20).into_boxed_str());
        &*Box::leak(Box::new(Op::new(name, Intent::Read)))
    };
    (0..METHODS).map(method).collect()
}

fn latency() -> HistogramCounts {
    let mut counts = HistogramCounts::default();
    counts.buckets.iter_mut().enumerate().for_each(|(i, n)| *n = 1000 * (i as u64 + 1));
    counts
}

/// The calls of every method on every node, written by two threads, and its statements.
fn text_of_all() {
    let (methods, calls) = (methods(), Calls::new(NODES));
    let names: Vec<String> = (0..NODES).map(|n| format!("replica-{n}")).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for (i, (method, node)) in methods.iter().flat_map(|m| (0..NODES).map(move |n| (m, n))).enumerate() {
                    let took = Duration::from_micros(100 + i as u64 * 37);
                    calls.method(method).series(node, Lane::Read).record(Outcome::Ok, took);
                }
            });
        }
    });
    let series = |(method, node): (&'static Op, &String)| StatementSeries {
        method: method.name(),
        node: node.as_str().into(),
        lane: Lane::Read.name(),
        latency: latency(),
        rows: 12_345,
        errors: 3,
        slow: 7,
    };
    let each = methods.iter().flat_map(|method| names.iter().map(move |name| (*method, name)));
    let statements = StatementCounts { series: each.map(series).collect(), ..StatementCounts::default() };
    let gauges = Gauges { statements: Some(statements), ..Gauges::default() };
    let (count, _) = rounds();
    let (mut modern, mut older, mut lines) = (Vec::new(), Vec::new(), 0);
    for _ in 0..count {
        let gauges = gauges.clone();
        let start = Instant::now();
        let text = openmetrics(&calls, &names, gauges).expect("it is written");
        modern.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        let classic = classic(&text);
        older.push(start.elapsed().as_secs_f64() * 1e3);
        lines = classic.lines().count();
    }
    println!("\na scrape, {METHODS} methods with calls and statements on {NODES} nodes: {lines} lines");
    println!("  {:<42} {} ms", "OpenMetrics", spread(modern).1);
    println!("  {:<42} {} ms", "made classic, on top", spread(older).1);
}

/// How long calls take, from a pool of a cluster in memory, while nobody or somebody scrapes.
async fn calls(db: &Arc<Runtime<FakeCluster>>, methods: &[&'static Op], length: Duration, scraped: bool) -> Vec<f64> {
    let over = Arc::new(AtomicBool::new(false));
    let scraping = tokio::spawn({
        let (router, over) = (router(db.clone()), over.clone());
        async move {
            while scraped && !over.load(Ordering::Relaxed) {
                let request = Request::get("/metrics").body(Body::empty()).expect("a request");
                let answer = router.clone().oneshot(request).await.expect("an answer");
                to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
                sleep(BETWEEN_SCRAPES).await;
            }
        }
    });
    let calling: Vec<_> = (0..2)
        .map(|first| {
            let (db, methods) = (db.clone(), methods.to_vec());
            tokio::spawn(async move {
                let (end, mut times) = (Instant::now() + length, Vec::new());
                while Instant::now() < end {
                    for method in methods.iter().skip(first).step_by(20) {
                        let start = Instant::now();
                        db.read(method, async |_| Ok::<_, dbopt_core::Error>(())).await.expect("it is served");
                        times.push(start.elapsed().as_nanos() as f64 / 1e3);
                    }
                    sleep(Duration::from_millis(1)).await;
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for one in calling {
        times.extend(one.await.expect("no call panics"));
    }
    over.store(true, Ordering::Relaxed);
    scraping.await.expect("it does not panic");
    times.sort_by(f64::total_cmp);
    times
}

async fn calls_beside_it() {
    let (cluster, names) = (FakeCluster::default(), ["a", "b", "c", "d", "e"]);
    names.iter().for_each(|name| drop(cluster.node(name)));
    let urls = names.map(|name| format!("fake://{name}"));
    let db = Runtime::connect(cluster, Config::for_urls(urls.iter().map(String::as_str))).await.expect("all answer");
    let methods = methods();
    for method in &methods {
        for _ in 0..2 * NODES {
            db.read(method, async |_| Ok::<_, dbopt_core::Error>(())).await.expect("it is served");
        }
    }
    let (count, length) = rounds();
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for n in 0..=count {
        for scraped in [n % 2 == 0, n % 2 != 0] {
            let times = calls(&db, &methods, length * 25, scraped).await;
            let at = |share: f64| times[(times.len() as f64 * share) as usize];
            if n > 0 {
                if scraped { &mut beside } else { &mut alone }.push([at(0.5), at(0.99), at(0.999)]);
            }
        }
    }
    println!("\ncalls on a cluster in memory, scraped every {BETWEEN_SCRAPES:?}, as a share of those without");
    for (i, name) in ["p50", "p99", "p99.9"].into_iter().enumerate() {
        let ratios = alone.iter().zip(&beside).map(|(alone, beside)| beside[i] / alone[i]).collect();
        let of = |all: &[[f64; 3]]| spread(all.iter().map(|one| one[i]).collect()).1;
        println!("  {name:<6} {:<26} us without, {:<26} with: {}", of(&alone), of(&beside), spread(ratios).1);
    }
}

pub(crate) fn run_all() {
    text_of_all();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(calls_beside_it());
}
