//! Acquire and release of a connection without using it: the pool beside plain bb8 and deadpool, in alternating rounds.

use std::sync::Arc;
use std::time::Duration;

use dbopt_diesel::Postgres;
use dbopt_diesel::core::backend::Endpoint;
use dbopt_diesel::core::op::{Intent, Lane, Op};
use dbopt_diesel::core::pool::{Budget, Config, Pool, Share};
use dbopt_tests::measure::{median, ratio, turns};
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use tokio::time::Instant;

use crate::common;

static OP: Op = Op::new("Bench::acquire", Intent::Read);
const CONNECTIONS: u32 = 10;
const NAMES: [&str; 3] = ["bb8", "dbopt", "deadpool"];

type Manager = AsyncDieselConnectionManager<AsyncPgConnection>;
type Deadpool = diesel_async::pooled_connection::deadpool::Pool<AsyncPgConnection>;

struct Contenders {
    bb8: bb8::Pool<Manager>,
    ours: Arc<Pool<Postgres>>,
    deadpool: Deadpool,
}

fn manager(url: &str) -> Manager {
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    Manager::new_with_config(url, config)
}

/// Nanoseconds per acquire and release, with `tasks` tasks that do `each` of them.
async fn run(which: usize, all: &Arc<Contenders>, tasks: usize, each: usize) -> f64 {
    let start = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|_| {
            let all = all.clone();
            tokio::spawn(async move {
                let deadline = Instant::now() + Duration::from_secs(600);
                for _ in 0..each {
                    // While others wait, a task that holds a connection lets them run: without it a task would never
                    // meet another one.
                    match which {
                        0 => {
                            let conn = all.bb8.get().await.expect("a connection");
                            breathe(tasks).await;
                            drop(conn);
                        }
                        1 => {
                            let conn = all.ours.acquire(&OP, deadline, true).await.expect("a connection");
                            breathe(tasks).await;
                            drop(conn);
                        }
                        _ => {
                            let conn = all.deadpool.get().await.expect("a connection");
                            breathe(tasks).await;
                            drop(conn);
                        }
                    }
                }
            })
        })
        .collect();
    for task in running {
        task.await.expect("no task panics");
    }
    start.elapsed().as_nanos() as f64 / (tasks * each) as f64
}

async fn breathe(tasks: usize) {
    if tasks > 1 {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn run_all() {
    let cluster = common::server().await;
    let url = cluster.primary().url();
    let config = Config { acquire_timeout: Duration::from_secs(600), ..Config::default() };
    let endpoint = Endpoint::new("primary", url.as_str());
    let (budget, breaker) = (Budget::new(CONNECTIONS), dbopt_diesel::core::breaker::Config::default());
    let ours = Pool::new(Arc::default(), endpoint, Lane::Read, budget, Arc::new(config), &breaker);
    ours.set_share(Share { min: CONNECTIONS as usize, max: CONNECTIONS as usize });
    ours.warm().await.expect("the server is reachable");
    let bb8 = bb8::Pool::builder()
        .max_size(CONNECTIONS)
        .min_idle(CONNECTIONS)
        .test_on_check_out(false)
        .connection_timeout(Duration::from_secs(600))
        .build(manager(&url))
        .await
        .expect("bb8");
    let deadpool = Deadpool::builder(manager(&url)).max_size(CONNECTIONS as usize).build().expect("deadpool");
    let all = Arc::new(Contenders { bb8, ours, deadpool });
    let (count, _) = common::rounds();
    for (tasks, each) in [(1, 200_000), (64, 3_000)] {
        let mut results = vec![Vec::new(); NAMES.len()];
        for (counts, which) in turns(NAMES.len(), count) {
            let nanos = run(which, &all, tasks, each).await;
            if counts {
                results[which].push(nanos);
            }
        }
        println!("\n{tasks} tasks, {CONNECTIONS} connections, {count} rounds; ratios to `{}` round by round", NAMES[0]);
        for (name, times) in NAMES.iter().zip(&results) {
            println!("{name:<12}{:>9.0} ns/op  {}", median(times.clone()), ratio(times, &results[0]));
        }
    }
}
