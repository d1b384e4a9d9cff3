//! In one process: a caller's limit beside governor's keyed one, that of all beside governor's direct one.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};

use dbopt_diesel::core::limit::{Limiter, Parts, Verdict, Who};
use dbopt_tests::measure::{number, ratio, spread, turns};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

use super::common::{LIMITED, OP, USERS, config, user};

const CONTENDERS: [&str; 6] = [
    "dbopt, user u64",
    "governor keyed, u64",
    "dbopt, user String",
    "governor keyed, String",
    "dbopt, all together",
    "governor direct",
];

static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| (0..USERS).map(|i| format!("user-{i:08}")).collect());

struct World {
    limiter: Arc<Limiter>,
    numbers: DefaultKeyedRateLimiter<u64>,
    names: DefaultKeyedRateLimiter<String>,
    direct: DefaultDirectRateLimiter,
}

fn world() -> Arc<World> {
    let quota = Quota::per_minute(NonZeroU32::new(900_000_000).unwrap());
    let limiter = Limiter::new(&config(), None).unwrap();
    for (_, task) in limiter.tasks() {
        tokio::spawn(task);
    }
    Arc::new(World {
        limiter,
        numbers: RateLimiter::keyed(quota),
        names: RateLimiter::keyed(quota),
        direct: RateLimiter::direct(quota),
    })
}

fn check(world: &World, who: Who<'_>, parts: Parts) -> bool {
    matches!(world.limiter.check(&OP, Some(&LIMITED), who, parts), Verdict::Admitted(_))
}

fn checks(world: &World, which: usize, first: usize, count: usize) {
    let mut admitted = 0;
    let each = |i: usize| match which {
        0 => check(world, Who::Number(user(i) as u64), Parts::User),
        1 => world.numbers.check_key(&(user(i) as u64)).is_ok(),
        2 => check(world, Who::User(&NAMES[user(i)]), Parts::User),
        3 => world.names.check_key(&NAMES[user(i)]).is_ok(),
        4 => check(world, Who::Caller, Parts::Shared),
        _ => world.direct.check().is_ok(),
    };
    for i in first..first + count {
        admitted += usize::from(black_box(each(i)));
    }
    assert_eq!(admitted, count, "{}", CONTENDERS[which]);
}

/// Nanoseconds for a check, over all tasks.
async fn round(world: &Arc<World>, which: usize, tasks: usize, count: usize) -> f64 {
    let start = Instant::now();
    let each = count / tasks;
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let world = world.clone();
            tokio::spawn(async move {
                for part in 0..each.div_ceil(1000) {
                    checks(&world, which, task * each + part * 1000, 1000.min(each - part * 1000));
                    // As a request does between its calls.
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in running {
        task.await.expect("no task panics");
    }
    start.elapsed().as_nanos() as f64 / (each * tasks) as f64
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn run() {
    let world = world();
    let (rounds, count) = (number("BENCH_ROUNDS", 11), number("BENCH_MILLIS", 40) * 20_000);
    for tasks in [1, 2, 64] {
        let mut nanos = vec![Vec::new(); CONTENDERS.len()];
        for (counts, which) in turns(CONTENDERS.len(), rounds) {
            let took = round(&world, which, tasks, count).await;
            if counts {
                nanos[which].push(took);
            }
        }
        println!("\nin process, {USERS} users, {tasks} tasks, {rounds} rounds of {count} checks");
        for pair in (0..CONTENDERS.len()).step_by(2) {
            for which in [pair, pair + 1] {
                println!("{:<26}{} ns", CONTENDERS[which], spread(nanos[which].clone()));
            }
            println!("{:<26}{}", "ratio", ratio(&nanos[pair], &nanos[pair + 1]));
        }
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn only(which: usize) {
    let world = world();
    // The clock's loop begins.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let count = number("BENCH_CALLS", 1_000_000);
    for part in 0..count.div_ceil(1000) {
        checks(&world, which, part * 1000, 1000);
    }
    println!("{}: {count} checks", CONTENDERS[which]);
}
