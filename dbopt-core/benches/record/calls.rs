//! A counter and a latency histogram for each call, labelled by its method, beside the peers.

use std::hint::black_box;
use std::sync::{Barrier, LazyLock};
use std::time::Duration;

use dbopt_core::observe::{BOUNDS, Calls, Outcome};
use dbopt_core::op::{Intent, Lane, Op};
use metrics::{counter, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts};
use tokio::time::Instant;

use crate::measure::{allocations, rounds, table};

static OP: Op = Op::new("Flights::find", Intent::Read);
static CALLS: LazyLock<Calls> = LazyLock::new(|| Calls::new(5));

/// Times as calls take them, from 50 µs to 40 ms.
static TIMES: LazyLock<[Duration; 256]> = LazyLock::new(|| {
    std::array::from_fn(|i| Duration::from_micros(50 + (i as u64 * 7919) % 4000 * (1 + i as u64 % 10)))
});

/// What `prometheus` counts with, the children looked up once.
struct Prometheus {
    counters: IntCounterVec,
    histograms: HistogramVec,
    counter: IntCounter,
    histogram: Histogram,
}

static PROMETHEUS: LazyLock<Prometheus> = LazyLock::new(|| {
    let labels = ["method", "node", "lane"];
    let counters = IntCounterVec::new(Opts::new("calls", "calls"), &labels).expect("valid");
    let options = HistogramOpts::new("seconds", "seconds").buckets(BOUNDS.to_vec());
    let histograms = HistogramVec::new(options, &labels).expect("valid");
    let values = [OP.name(), "replica-1", "read"];
    let (counter, histogram) = (counters.with_label_values(&values), histograms.with_label_values(&values));
    Prometheus { counters, histograms, counter, histogram }
});

/// What the macros of `metrics` write to. It keeps raw samples until it is asked, which is not timed.
static RECORDER: LazyLock<PrometheusHandle> = LazyLock::new(|| {
    let builder = PrometheusBuilder::new().set_buckets(&BOUNDS).expect("valid");
    builder.install_recorder().expect("it is the only one")
});

const NAMES: [&str; 4] =
    ["dbopt, the method looked up too", "prometheus, children held", "prometheus, by labels", "metrics macros"];

fn repeat(times: usize, call: impl Fn(Duration)) {
    for i in 0..times {
        call(black_box(TIMES[i % TIMES.len()]));
    }
}

fn ours(took: Duration) {
    CALLS.method(black_box(&OP)).series(black_box(1), Lane::Read).record(Outcome::Ok, took);
}

fn contender(which: usize, times: usize) {
    let prometheus = &*PROMETHEUS;
    match which {
        0 => repeat(times, ours),
        1 => repeat(times, |took| {
            prometheus.counter.inc();
            prometheus.histogram.observe(took.as_secs_f64());
        }),
        2 => repeat(times, |took| {
            let labels = [black_box(OP.name()), "replica-1", "read"];
            prometheus.counters.with_label_values(&labels).inc();
            prometheus.histograms.with_label_values(&labels).observe(took.as_secs_f64());
        }),
        _ => repeat(times, |took| {
            counter!("calls_total", "method" => "Flights::find", "node" => "replica-1", "lane" => "read").increment(1);
            histogram!("call_seconds", "method" => "Flights::find", "node" => "replica-1", "lane" => "read")
                .record(took.as_secs_f64());
        }),
    }
}

/// Nanoseconds of each call, wall time over all calls, and allocations, of `threads` threads.
fn round(which: usize, threads: usize, each: usize) -> (f64, u64) {
    let barrier = Barrier::new(threads);
    let spans: Vec<_> = std::thread::scope(|scope| {
        let one = || {
            // Whatever the thread needs for its first calls.
            contender(which, 2000);
            barrier.wait();
            let (allocated, start) = (allocations(), Instant::now());
            contender(which, each);
            (start, Instant::now(), allocations() - allocated)
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        running.into_iter().map(|one| one.join().expect("no contender panics")).collect()
    });
    let start = spans.iter().map(|(start, ..)| *start).min();
    let end = spans.iter().map(|(_, end, _)| *end).max();
    let took = start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start);
    RECORDER.run_upkeep();
    (
        took.as_nanos() as f64 / (threads * each) as f64,
        spans.iter().map(|(.., allocated)| *allocated).max().unwrap_or(0),
    )
}

pub(crate) fn run_one(which: usize) {
    LazyLock::force(&RECORDER);
    let times = std::env::var("BENCH_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(200_000);
    contender(which, times);
    println!("{}: {times} calls", NAMES[which]);
}

pub(crate) fn run_all() {
    LazyLock::force(&RECORDER);
    let (count, length) = rounds();
    for threads in [1, 2] {
        let mut times = vec![Vec::new(); NAMES.len()];
        let mut allocated = vec![0; NAMES.len()];
        let calls = [0, 1, 2, 3].map(|which| {
            let (nanos, _) = round(which, threads, 20_000);
            (length.as_nanos() as f64 / nanos / threads as f64).max(20_000.0) as usize
        });
        for n in 0..=count {
            for turn in 0..NAMES.len() {
                let which = (n + turn) % NAMES.len();
                let (nanos, new) = round(which, threads, calls[which]);
                // The first round is for warming up.
                if n > 0 {
                    times[which].push(nanos);
                    allocated[which] += new;
                }
            }
        }
        table(&format!("counting a call, {threads} threads, {count} rounds"), &NAMES, &times);
        for (which, name) in NAMES.iter().enumerate() {
            println!(
                "  {name:<42} {:>9.3} allocations per call",
                allocated[which] as f64 / (count * calls[which] * threads) as f64
            );
        }
        assert_eq!(allocated[0], 0, "counting a call allocates nothing");
    }
}
