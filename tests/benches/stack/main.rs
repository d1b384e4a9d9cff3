//! A method with everything on, answered from memory: `#[cached]` with a limit for each caller and one for all, counters and histogram,
//! beside what applications put together by hand, in alternating rounds: `cargo bench -p dbopt-tests --bench stack`.
//!
//! Each request makes ten calls for one of 10,000 users. `BENCH_ROUNDS` and `BENCH_MILLIS` (ten thousands of calls per round) make it
//! shorter; `BENCH_ONLY=0` runs one contender alone with one task, for an instruction counter.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]

mod assembled;

use std::future::Future;
use std::hint::black_box;
use std::sync::Arc;

use assembled::{Careful, Usual};
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use dbopt_tests::measure::{Counting, allocations, number, ratio, spread, turns};
use diesel::QueryResult;
use tokio::time::Instant;

type Value = Arc<[u8; 200]>;

const KEYS: usize = 500;
const USERS: usize = 10_000;
const CALLS_IN_A_REQUEST: usize = 10;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn value(id: u64) -> Value {
    Arc::new([id as u8; 200])
}

#[derive(Clone)]
struct Rows {
    db: Db,
}

#[repository]
impl Rows {
    #[cached(tags = ["row:{id}", "rows"], layers = "l1")]
    #[rate_limited(per_user = "900000000/min", global = "900000000/min")]
    async fn by_id(&self, conn: &mut Conn, id: u64) -> QueryResult<Value> {
        let _ = conn;
        Ok(value(id))
    }
}

#[derive(Clone)]
struct World {
    ours: Rows,
    usual: Arc<Usual>,
    careful: Arc<Careful>,
    users: Arc<[String]>,
}

const NAMES: [&str; 4] = [
    "dbopt, everything on",
    "assembled, usual: moka + governor x2 + metrics macros",
    "assembled, careful: #[concurrent_cached] + governor x2 + metric handles held",
    "#[concurrent_cached] alone",
];

/// One request: its user is known, and some rows are read.
async fn request<F: Future<Output = Value>>(first: usize, read: impl Fn(u64) -> F) {
    for n in 0..CALLS_IN_A_REQUEST {
        black_box(read(((first + n * 181) % KEYS) as u64).await);
    }
}

impl World {
    async fn request(&self, which: usize, i: usize) {
        let user = &self.users[(i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % USERS];
        match which {
            0 => {
                let reads = request(i, async |id| self.ours.by_id(id).await.expect("a value"));
                Context::user(user).scope(reads).await;
            }
            1 => request(i, |id| self.usual.by_id(user, id)).await,
            2 => request(i, |id| self.careful.by_id(user, id)).await,
            _ => request(i, assembled::cached_alone).await,
        }
    }
}

/// Nanoseconds and allocations of each call, over all tasks.
async fn round(world: &World, which: usize, tasks: usize, calls: usize) -> (f64, f64) {
    let each = calls / tasks / CALLS_IN_A_REQUEST;
    let (allocated, start) = (allocations(), Instant::now());
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let world = world.clone();
            tokio::spawn(async move {
                for n in 0..each {
                    world.request(which, task * each + n).await;
                    if n % 100 == 99 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for task in running {
        task.await.expect("no task panics");
    }
    let calls = (each * tasks * CALLS_IN_A_REQUEST) as f64;
    (start.elapsed().as_nanos() as f64 / calls, (allocations() - allocated) as f64 / calls)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let cluster = Cluster::builder().replicas(0).redis(false).start().await.expect("a server");
    let db = Db::connect(Config::for_urls([cluster.primary().url()])).await.expect("the server is reachable");
    let world = World {
        ours: Rows { db },
        usual: Arc::new(Usual::new()),
        careful: Arc::new(Careful::new()),
        users: (0..USERS).map(|i| format!("user-{i:08}")).collect(),
    };
    let calls = number("BENCH_MILLIS", 40) * 10_000;
    if let Ok(which) = std::env::var("BENCH_ONLY") {
        let which = which.parse().expect("a contender's number");
        for i in 0..calls / CALLS_IN_A_REQUEST {
            world.request(which, i).await;
        }
        println!("{}: {calls} calls", NAMES[which]);
        return;
    }
    let rounds = number("BENCH_ROUNDS", 11);
    for tasks in [1, 2, 64] {
        let (mut nanos, mut allocated) = (vec![Vec::new(); NAMES.len()], vec![0.0; NAMES.len()]);
        for (counts, which) in turns(NAMES.len(), rounds) {
            let (took, each) = round(&world, which, tasks, calls).await;
            // Raw samples that the exporter keeps until it is asked would slow the usual assembly down.
            world.usual.upkeep();
            if counts {
                nanos[which].push(took);
                allocated[which] = each;
            }
        }
        println!("\neverything on, {tasks} tasks, {rounds} rounds of {calls} calls; dbopt as a share of each");
        for (which, name) in NAMES.iter().enumerate() {
            let (took, share) = (spread(nanos[which].clone()), ratio(&nanos[0], &nanos[which]));
            println!("{name:<78}{took:<28} ns  {share:<24}{:.3} allocations", allocated[which]);
        }
    }
    let counted: u64 = world.ours.db.cache().status().l1_hits;
    println!("\n{counted} hits were counted");
}
