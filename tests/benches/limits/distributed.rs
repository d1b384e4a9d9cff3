//! Over instances: checks through Redis beside one `EVALSHA` for each on a bare multiplexed connection.

use std::sync::Arc;
use std::time::Duration;

use dbopt_diesel::core::limit::{Config, Limiter, Parts, Verdict, Who};
use dbopt_diesel::dev::Cluster;
use dbopt_tests::measure::{cpu_time, number, spread};
use redis::Script;
use redis::aio::MultiplexedConnection;
use tokio::time::Instant;

use super::common::{LIMITED, OP, config, user};

/// A sliding counter: the last two windows, weighted. Not strict, and less work than what is.
const COUNTER: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window = tonumber(ARGV[1])
local current = math.floor(now / window)
local last = tonumber(redis.call('GET', KEYS[1] .. ':' .. (current - 1)) or '0')
local this = tonumber(redis.call('GET', KEYS[1] .. ':' .. current) or '0')
local used = last * (1 - (now % window) / window) + this
if used >= tonumber(ARGV[2]) then return 0 end
redis.call('INCR', KEYS[1] .. ':' .. current)
redis.call('PEXPIRE', KEYS[1] .. ':' .. current, 2 * window)
return 1";

#[derive(Clone, Copy, PartialEq)]
enum Case {
    /// Each check another of 10,000 users, and nothing is fetched ahead: each asks Redis.
    Straight,
    /// Each check another of 10,000 users.
    Many,
    /// Always the same user.
    Hot,
    /// All users together.
    All,
}

const CASES: [(Case, &str); 4] = [
    (Case::Straight, "cold users, nothing ahead"),
    (Case::Many, "10,000 users"),
    (Case::Hot, "a hot user"),
    (Case::All, "all together"),
];
const TASKS: usize = 64;

#[derive(Clone)]
struct World {
    limiter: Arc<Limiter>,
    straight: Arc<Limiter>,
    redis: MultiplexedConnection,
    script: Arc<Script>,
}

impl World {
    async fn bare(&mut self, case: Case, i: usize) {
        let key = match case {
            Case::Straight | Case::Many => format!("{{bare}}:user-{:08}", user(i)),
            Case::Hot => "{bare}:user".to_owned(),
            Case::All => "{bare}:all".to_owned(),
        };
        let mut call = self.script.key(key);
        let admitted: i64 =
            call.arg(60_000).arg(900_000_000).invoke_async(&mut self.redis).await.expect("Redis answers");
        assert_eq!(admitted, 1);
    }

    async fn ours(&mut self, case: Case, i: usize, name: &mut String) {
        use std::fmt::Write as _;
        let (who, parts) = match case {
            Case::Straight | Case::Many => {
                name.clear();
                let _ = write!(name, "user-{:08}", user(i));
                (Who::User(name), Parts::User)
            }
            Case::Hot => (Who::User("hot"), Parts::User),
            Case::All => (Who::Caller, Parts::Shared),
        };
        let limiter = if case == Case::Straight { &self.straight } else { &self.limiter };
        match limiter.check(&OP, Some(&LIMITED), who, parts) {
            Verdict::Admitted(_) => {}
            Verdict::Ask(asking) => drop(asking.answer().await.expect("admitted")),
            Verdict::Refused(refused) => panic!("{refused:?}"),
        }
    }
}

struct Measured {
    per_second: f64,
    cpu: f64,
    p50: f64,
}

async fn round(world: &World, case: Case, ours: bool, begin: usize, time: Duration) -> Measured {
    let (start, used) = (Instant::now(), cpu_time());
    let running: Vec<_> = (0..TASKS)
        .map(|task| {
            let mut world = world.clone();
            tokio::spawn(async move {
                let (mut done, mut times, mut name) = (0usize, Vec::new(), String::new());
                while start.elapsed() < time {
                    // The clock is read for each call that waits, and now and then for those that do not.
                    let batch = if ours && matches!(case, Case::Hot | Case::All) { 200 } else { 1 };
                    let began = Instant::now();
                    for _ in 0..batch {
                        let i = begin + task * 1_000_003 + done;
                        if ours {
                            world.ours(case, i, &mut name).await
                        } else {
                            world.bare(case, i).await
                        }
                        done += 1;
                    }
                    times.push(began.elapsed().as_nanos() as f64 / batch as f64);
                    if batch > 1 {
                        tokio::task::yield_now().await;
                    }
                }
                (done, times)
            })
        })
        .collect();
    let (mut done, mut times) = (0, Vec::new());
    for task in running {
        let (count, mut some) = task.await.expect("no task panics");
        done += count;
        times.append(&mut some);
    }
    let (took, used) = (start.elapsed().as_secs_f64(), (cpu_time() - used).as_secs_f64());
    times.sort_by(f64::total_cmp);
    Measured { per_second: done as f64 / took, cpu: used * 1e6 / done as f64, p50: times[times.len() / 2] / 1e3 }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn run() {
    let cluster = Cluster::builder().replicas(0).start().await.expect("servers");
    let url = cluster.redis().expect("Redis").url();
    let mut config = config();
    // The checks themselves are measured, not what happens when Redis is late.
    config.timeout = Duration::from_millis(100);
    let straight = Config { lease_share: 0.0, ..config.clone() };
    let mut tasks = Vec::new();
    let mut start = async |config: &Config| {
        let limiter = Limiter::new(config, Some((&url, "bench"))).expect("the settings are valid");
        tasks.extend(limiter.tasks().into_iter().map(|(_, task)| tokio::spawn(task)));
        while limiter.status().redis != "up" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        limiter
    };
    let (limiter, straight) = (start(&config).await, start(&straight).await);
    let client = redis::Client::open(url.clone()).expect("a URL");
    let redis = client.get_multiplexed_async_connection().await.expect("Redis is there");
    let world = World { limiter, straight, redis, script: Arc::new(Script::new(COUNTER)) };
    let rounds = number("BENCH_ROUNDS", 7);
    let time = Duration::from_millis(number("BENCH_MILLIS", 700) as u64);
    for (case, name) in CASES {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for n in 0..=rounds {
            let begin = n * 7_919;
            let bare = round(&world, case, false, begin, time).await;
            let own = round(&world, case, true, begin, time).await;
            if n > 0 {
                theirs.push(bare);
                ours.push(own);
            }
        }
        let of = |all: &[Measured], read: fn(&Measured) -> f64| spread(all.iter().map(read).collect());
        let ratio = |read: fn(&Measured) -> f64| {
            spread(ours.iter().zip(&theirs).map(|(ours, theirs)| read(ours) / read(theirs)).collect())
        };
        println!("\nthrough Redis, {name}, {TASKS} tasks, {rounds} rounds");
        println!(
            "dbopt      {}/s  cpu {} us  p50 {} us",
            of(&ours, |m| m.per_second),
            of(&ours, |m| m.cpu),
            of(&ours, |m| m.p50)
        );
        println!(
            "EVALSHA    {}/s  cpu {} us  p50 {} us",
            of(&theirs, |m| m.per_second),
            of(&theirs, |m| m.cpu),
            of(&theirs, |m| m.p50)
        );
        println!("ratio      {}    cpu {}", ratio(|m| m.per_second), ratio(|m| m.cpu));
    }
    println!("\n{:?}", world.limiter.status());
    for task in tasks {
        task.abort();
    }
}
