//! What both halves share: rounds, a server, settings.

use std::future::Future;
use std::time::Duration;

use dbopt_diesel::Config;
use dbopt_diesel::dev::Cluster;
use dbopt_tests::measure::{allocations, cpu_time, number};
use tokio::time::Instant;

/// What one round of one contender gave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Round {
    /// Operations per second.
    pub(crate) per_second: f64,
    /// CPU time of this process per operation, in microseconds.
    pub(crate) cpu_us: f64,
    /// Allocations per operation.
    pub(crate) allocations: f64,
    /// Every operation's time, sorted.
    pub(crate) latencies: Vec<Duration>,
    /// Operations of the slowest task as a share of the mean.
    pub(crate) slowest_task: f64,
}

impl Round {
    /// The time below which the share `q` of operations stayed.
    pub(crate) fn quantile(&self, q: f64) -> Duration {
        let i = ((self.latencies.len() as f64 * q) as usize).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(i).copied().unwrap_or_default()
    }
}

/// Runs `operation` in `tasks` tasks for `length`.
pub(crate) async fn round<O, F>(tasks: usize, length: Duration, operation: O) -> Round
where
    O: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let (cpu, allocated, start) = (cpu_time(), allocations(), Instant::now());
    let end = start + length;
    let running: Vec<_> = (0..tasks)
        .map(|_| {
            let operation = operation.clone();
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(200_000);
                let mut now = Instant::now();
                while now < end {
                    operation().await;
                    let after = Instant::now();
                    times.push(after - now);
                    now = after;
                }
                times
            })
        })
        .collect();
    let mut latencies = Vec::new();
    let mut counts = Vec::new();
    for task in running {
        let mut times = task.await.expect("no operation panics");
        counts.push(times.len() as f64);
        latencies.append(&mut times);
    }
    let took = start.elapsed();
    let n = latencies.len() as f64;
    let mean = n / counts.len() as f64;
    let done = Round {
        per_second: n / took.as_secs_f64(),
        cpu_us: (cpu_time() - cpu).as_secs_f64() * 1e6 / n,
        allocations: (allocations() - allocated) as f64 / n,
        slowest_task: counts.iter().copied().fold(f64::INFINITY, f64::min) / mean,
        latencies,
    };
    sorted(done)
}

fn sorted(mut round: Round) -> Round {
    round.latencies.sort_unstable();
    round
}

/// How many rounds, and how long each: `BENCH_ROUNDS` and `BENCH_MILLIS` change them.
pub(crate) fn rounds() -> (usize, Duration) {
    (number("BENCH_ROUNDS", 9), Duration::from_millis(number("BENCH_MILLIS", 700) as u64))
}

/// One contender alone, to look at with a profiler: `BENCH_ONLY=1,64` is the second of the table with 64 tasks.
pub(crate) fn only() -> Option<(usize, usize)> {
    let text = std::env::var("BENCH_ONLY").ok()?;
    let (which, tasks) = text.split_once(',')?;
    Some((which.parse().ok()?, tasks.parse().ok()?))
}

/// One server with the table that the benchmarks read.
pub(crate) async fn server() -> Cluster {
    let cluster = Cluster::builder().replicas(0).redis(false).start().await.expect("a server");
    let rows = "CREATE TABLE rows (id bigint PRIMARY KEY, payload text NOT NULL); \
                INSERT INTO rows SELECT i, repeat('x', 60) FROM generate_series(1, 10000) AS i; ANALYZE rows";
    cluster.primary().execute(rows).await.expect("the table");
    cluster
}

/// Settings whose read lane on the only node holds exactly `connections`.
pub(crate) fn config(cluster: &Cluster, connections: u32) -> Config {
    let mut config = Config::for_urls([cluster.primary().url()]);
    config.pool.max = connections + 2;
    config.pool.min = connections;
    let one = 0.99 / f64::from(connections + 2);
    (config.pool.write_share, config.pool.critical_share) = (one, one);
    config
}
