//! One row by primary key: an annotated method beside raw diesel-async on its usual pools, in alternating rounds.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use dbopt_diesel::prelude::*;
use dbopt_tests::measure::{median, ratio, turns};
use diesel::prelude::*;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::common::{self, Round, round};

const CONNECTIONS: u32 = 20;
const KEY: i64 = 4711;

diesel::table! { rows (id) { id -> BigInt, payload -> Text, } }

#[derive(Clone)]
struct Rows {
    db: Db,
}

#[repository]
impl Rows {
    #[read]
    async fn payload(&self, conn: &mut Conn, id: i64) -> QueryResult<String> {
        rows::table.find(id).select(rows::payload).first(conn).await
    }
}

type Manager = AsyncDieselConnectionManager<AsyncPgConnection>;
type Deadpool = diesel_async::pooled_connection::deadpool::Pool<AsyncPgConnection>;

fn manager(url: &str, recycling: RecyclingMethod<AsyncPgConnection>) -> Manager {
    let mut config = ManagerConfig::default();
    config.recycling_method = recycling;
    Manager::new_with_config(url, config)
}

async fn bb8(url: &str, tested: bool) -> bb8::Pool<Manager> {
    let recycling = if tested { RecyclingMethod::Verified } else { RecyclingMethod::Fast };
    bb8::Pool::builder()
        .max_size(CONNECTIONS)
        .min_idle(CONNECTIONS)
        .test_on_check_out(tested)
        .connection_timeout(Duration::from_secs(60))
        .build(manager(url, recycling))
        .await
        .expect("bb8")
}

fn deadpool(url: &str, recycling: RecyclingMethod<AsyncPgConnection>) -> Deadpool {
    Deadpool::builder(manager(url, recycling)).max_size(CONNECTIONS as usize).build().expect("deadpool")
}

struct Contenders {
    ours: Rows,
    /// The same without `insight`.
    unwatched: Rows,
    plain_bb8: bb8::Pool<Manager>,
    default_bb8: bb8::Pool<Manager>,
    fast_deadpool: Deadpool,
    default_deadpool: Deadpool,
}

const NAMES: [&str; 6] = [
    "bb8, no test",
    "dbopt #[read]",
    "bb8, defaults (tests)",
    "deadpool, fast",
    "deadpool, defaults (tests)",
    "dbopt without insight",
];

async fn run(which: usize, all: &Arc<Contenders>, tasks: usize, length: Duration) -> Round {
    match which {
        0 => each(all, tasks, length, |all| async move { on_bb8(&all.plain_bb8).await }).await,
        1 => each(all, tasks, length, |all| async move { drop(all.ours.payload(KEY).await.expect("a row")) }).await,
        2 => each(all, tasks, length, |all| async move { on_bb8(&all.default_bb8).await }).await,
        3 => each(all, tasks, length, |all| async move { on_deadpool(&all.fast_deadpool).await }).await,
        4 => each(all, tasks, length, |all| async move { on_deadpool(&all.default_deadpool).await }).await,
        _ => {
            each(all, tasks, length, |all| async move { drop(all.unwatched.payload(KEY).await.expect("a row")) }).await
        }
    }
}

async fn each<F>(all: &Arc<Contenders>, tasks: usize, length: Duration, read: fn(Arc<Contenders>) -> F) -> Round
where
    F: Future<Output = ()> + Send + 'static,
{
    let all = all.clone();
    round(tasks, length, move || read(all.clone())).await
}

async fn on_bb8(pool: &bb8::Pool<Manager>) {
    let mut conn = pool.get().await.expect("a connection");
    let row: String = rows::table.find(KEY).select(rows::payload).first(&mut *conn).await.expect("a row");
    drop(row);
}

async fn on_deadpool(pool: &Deadpool) {
    let mut conn = pool.get().await.expect("a connection");
    let row: String = rows::table.find(KEY).select(rows::payload).first(&mut conn).await.expect("a row");
    drop(row);
}

pub(crate) async fn run_all() {
    let cluster = common::server().await;
    let url = cluster.primary().url();
    let db = Db::connect(common::config(&cluster, CONNECTIONS)).await.expect("the server is reachable");
    let lane = db.status().nodes[0].pools.iter().find(|p| p.lane == "read").expect("a read lane").max;
    assert_eq!(lane, CONNECTIONS as usize, "every contender has the same number of connections");
    let mut unwatched = common::config(&cluster, CONNECTIONS);
    unwatched.insight.enabled = false;
    let all = Arc::new(Contenders {
        ours: Rows { db },
        unwatched: Rows { db: Db::connect(unwatched).await.expect("the server is reachable") },
        plain_bb8: bb8(&url, false).await,
        default_bb8: bb8(&url, true).await,
        fast_deadpool: deadpool(&url, RecyclingMethod::Fast),
        default_deadpool: deadpool(&url, RecyclingMethod::Verified),
    });
    let (count, length) = common::rounds();
    if let Some((which, tasks)) = common::only() {
        let one = run(which, &all, tasks, length).await;
        println!("{}, {tasks} tasks: {:.0} q/s, {:.2} us of CPU", NAMES[which], one.per_second, one.cpu_us);
        return;
    }
    for tasks in [1, 16, 64] {
        let mut results: Vec<Vec<Round>> = vec![Vec::new(); NAMES.len()];
        for (counts, which) in turns(NAMES.len(), count) {
            let round = run(which, &all, tasks, length).await;
            if counts {
                results[which].push(round);
            }
        }
        table(tasks, count, length, &results);
    }
}

fn table(tasks: usize, count: usize, length: Duration, results: &[Vec<Round>]) {
    println!(
        "\n{tasks} tasks, {CONNECTIONS} connections, {count} rounds of {length:?}; ratios to `{}` round by round",
        NAMES[0]
    );
    println!(
        "{:<28}{:>9}  {:<24}{:>9}{:>8}{:>11}{:>11}  slowest task / mean",
        "", "q/s", "ratio [min-max]", "cpu us", "allocs", "p99", "p99.9"
    );
    for (name, rounds) in NAMES.iter().zip(results) {
        let rates = |rounds: &[Round]| rounds.iter().map(|r| r.per_second).collect::<Vec<f64>>();
        let median = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
        println!(
            "{name:<28}{:>9.0}  {:<24}{:>9.2}{:>8.1}{:>8.2} ms{:>8.2} ms  {:.2}",
            median(|r| r.per_second),
            ratio(&rates(rounds), &rates(&results[0])),
            median(|r| r.cpu_us),
            median(|r| r.allocations),
            median(|r| r.quantile(0.99).as_secs_f64() * 1e3),
            median(|r| r.quantile(0.999).as_secs_f64() * 1e3),
            median(|r| r.slowest_task),
        );
    }
}
