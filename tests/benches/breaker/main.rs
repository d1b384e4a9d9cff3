//! What a closed circuit costs per call, beside recloser, failsafe and tower-resilience: one run, alternating rounds, ratios with their spread.
//!
//! `cargo xtask bench breaker`; `BENCH_ROUNDS`, `BENCH_MILLIS` (hundred thousands of calls per round) change its length, and
//! `BENCH_ONLY=<contender>` runs one alone on one thread, for counting instructions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod contenders;

use std::time::{Duration, Instant};

use contenders::{Contenders, NAMES, SYNC};
use dbopt_tests::measure::{number, ratio, spread, turns};

/// Nanoseconds per call when so many threads make `calls` each.
fn on_threads(all: &Contenders, which: usize, threads: usize, calls: usize) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| all.run(which, calls));
        }
    });
    nanos(start.elapsed(), threads * calls)
}

/// The same when so many tasks of a runtime with two workers share `calls`.
fn in_tasks(runtime: &tokio::runtime::Runtime, all: &Contenders, which: usize, tasks: usize, calls: usize) -> f64 {
    runtime.block_on(async {
        let start = Instant::now();
        let running: Vec<_> = (0..tasks)
            .map(|_| {
                let all = all.clone();
                tokio::spawn(async move { all.run_async(which, calls / tasks).await })
            })
            .collect();
        for task in running {
            task.await.unwrap();
        }
        nanos(start.elapsed(), calls / tasks * tasks)
    })
}

fn nanos(took: Duration, calls: usize) -> f64 {
    took.as_nanos() as f64 / calls as f64
}

fn main() {
    let all = Contenders::new();
    let calls = number("BENCH_MILLIS", 40) * 100_000;
    if let Ok(which) = std::env::var("BENCH_ONLY") {
        let which = which.parse().expect("a contender's number");
        all.run(which, calls);
        println!("{}: {calls} calls", NAMES[which]);
        return;
    }
    let rounds = number("BENCH_ROUNDS", 9);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    type Measure<'a> = Box<dyn Fn(usize) -> f64 + 'a>;
    let sections: [(&str, usize, Measure<'_>); 4] = [
        ("1 thread", SYNC, Box::new(|which| on_threads(&all, which, 1, calls))),
        ("2 threads", SYNC, Box::new(|which| on_threads(&all, which, 2, calls / 2))),
        ("async, 1 task", NAMES.len(), Box::new(|which| in_tasks(&runtime, &all, which, 1, calls / 2))),
        ("async, 64 tasks on 2 workers", NAMES.len(), Box::new(|which| in_tasks(&runtime, &all, which, 64, calls / 2))),
    ];
    for (name, count, measure) in sections {
        let mut results = vec![Vec::new(); count];
        for (counts, which) in turns(count, rounds) {
            let nanos = measure(which);
            if counts {
                results[which].push(nanos);
            }
        }
        println!("\nclosed, {name}, {rounds} rounds; dbopt as a share of each");
        for which in 0..count {
            let share = ratio(&results[1], &results[which]);
            println!("{:<28}{:<28} ns  {share}", NAMES[which], spread(results[which].clone()));
        }
    }
}
