//! What knowing a statement costs: its bound values hashed, its run counted, repetition looked for. `cargo bench -p dbopt-core --bench statement`;
//! `BENCH_STATEMENTS=20000` for an instruction counter.
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;
use std::sync::{Arc, Barrier, Weak};
use std::time::Duration;

use dbopt_core::op::{Intent, Lane, Op};
use dbopt_core::query::{Config, Ended, Insight, Outcome, Place, Scope, Times};
use tokio::time::Instant;

static SEATS: Op = Op::new("Flights::seats", Intent::Read);

const SQL: &str = r#"SELECT "seats"."id", "seats"."label" FROM "seats" WHERE ("seats"."flight_id" = $1) ORDER BY "seats"."id" LIMIT $2"#;

fn binds(key: u64) -> [u8; 30] {
    let mut bytes = [0; 30];
    (bytes[1], bytes[3], bytes[5], bytes[9], bytes[21]) = (1, 1, 2, 8, 8);
    bytes[10..18].copy_from_slice(&key.to_be_bytes());
    bytes
}

/// Nanoseconds for each statement, the best of some rounds.
fn measure(count: u64, mut each: impl FnMut(u64)) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let start = Instant::now();
        (0..count).for_each(&mut each);
        best = best.min(start.elapsed().as_nanos() as f64 / count as f64);
    }
    best
}

/// The same on each of `threads` threads at once: nanoseconds that one of them spends for each statement.
fn measure_on(threads: usize, count: u64, each: impl Fn(u64) + Sync) -> f64 {
    let alone = |barrier: &Barrier| {
        barrier.wait();
        measure(count, &each)
    };
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| alone(&barrier))).collect();
        let times: f64 = running.into_iter().map(|one| one.join().expect("no thread panics")).sum();
        times / threads as f64
    })
}

fn main() {
    let count = std::env::var("BENCH_STATEMENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let insight = Insight::new(Config::default());
    let place = Place { node: "db1".into(), lane: Lane::Read };
    let known = insight.recognise(SQL, false);
    let run = |key: u64, scope: &Weak<Scope>| {
        let identity = known.identity(black_box(&binds(key)));
        let times = Times {
            waited: Duration::from_nanos(300),
            first_row: Some(Duration::from_micros(80)),
            total: Duration::from_micros(90),
        };
        let ended = Ended {
            known: &known,
            place: &place,
            op: Some(&SEATS),
            scope,
            identity,
            times,
            rows: 3,
            outcome: Outcome::Completed,
            sqlstate: None,
        };
        insight.ended(&ended, || None);
    };
    let own: Arc<Scope> = insight.own_scope();
    let own = Arc::downgrade(&own);
    let scope = insight.own_scope();
    let held = Arc::downgrade(&scope);
    println!("a statement, no scope:      {:>6.0} ns", measure(count, |key| run(key, &own)));
    println!("the same on two threads:    {:>6.0} ns", measure_on(2, count, |key| run(key, &Weak::new())));
    println!("a statement, in a scope:    {:>6.0} ns", measure(count, |key| run(key % 4, &held)));
    println!(
        "a text that is known:       {:>6.0} ns",
        measure(count, |_| drop(black_box(insight.recognise(SQL, false))))
    );
    let texts: Vec<String> = (0..5000).map(|n| format!("SELECT a FROM t WHERE id = {n} AND b IN (1, 2, 3)")).collect();
    println!(
        "a text that is new:         {:>6.0} ns",
        measure(count / 20, |n| drop(black_box(insight.recognise(&texts[n as usize % 5000], false))))
    );
}
