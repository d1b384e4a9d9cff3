//! `balance`: balanced reads and plain round robin, side by side on the same cluster, while one replica is 300 ms away and another one has to
//! share its processors: `cargo run -p dbopt-tests --bin balance`.

mod plot;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use comfy_table::Table;
use dbopt_diesel::Db;
use dbopt_diesel::core::cluster::{Asked, Cpu, HostSample, HostSource, Told};
use dbopt_diesel::core::route::balance::Policy;
use dbopt_diesel::dev::Cluster;
use dbopt_tests::{Things, prepared};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};

/// Measures what a slow replica costs.
#[derive(Parser)]
struct Cli {
    /// Reads a second, of each of the two.
    #[arg(long, default_value_t = 150)]
    rate: u32,
    /// How long each of the three parts takes: all is well, two replicas are not, all is well again.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// How much later each answer of the slow replica comes, in milliseconds.
    #[arg(long, default_value_t = 300)]
    delay: u64,
    /// How many sessions keep the processors of the busy replica in use. On one machine they are everybody's, so there are as many on the
    /// primary, which serves none of these reads, while all is well.
    #[arg(long, default_value_t = 1)]
    burn: usize,
    /// How much of its processors the busy replica says is in use, in percent.
    #[arg(long, default_value_t = 90)]
    cpu: u64,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw them to this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What machines say of their processors while all is well, in percent.
const USUAL: u64 = 30;

/// What the busy replica's machine says; the servers share one machine here, so its own figures would tell nothing.
struct Dial(Arc<AtomicU64>);

impl HostSource for Dial {
    fn read<'a>(&'a self, asked: Asked<'a>) -> Told<'a> {
        let percent = if asked.node == "replica-2" { self.0.load(Ordering::Relaxed) } else { USUAL };
        Box::pin(
            async move { Ok(HostSample { cpu: Some(Cpu::Share(percent as f64 / 100.0)), ..HostSample::default() }) },
        )
    }
}

/// One read: when it should have begun and what it took from then on, in milliseconds.
type Reads = Arc<Mutex<Vec<(f64, f64)>>>;

/// What one way of spreading reads came to.
#[derive(Serialize)]
struct Figures {
    name: &'static str,
    reads: usize,
    errors: usize,
    /// The 99th percentiles in milliseconds: before; from 10 s after the replicas turned slow on; once all is well again for 10 s.
    healthy_ms: f64,
    slow_ms: f64,
    after_ms: f64,
    /// `slow_ms` beside that of an instance which knows only the replicas that stay healthy: whatever else the machine was doing, it did to
    /// both.
    ratio: f64,
    /// Per second the 99th percentile.
    course_ms: Vec<f64>,
}

#[derive(Serialize)]
struct Outcome {
    figures: Vec<Figures>,
    /// Per second each replica's part of the weights.
    parts: BTreeMap<String, Vec<f64>>,
    /// When it began and ended to be bad, in seconds.
    bad: (u64, u64),
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let cluster = prepared(Cluster::builder().replicas(4).cascade(4, 3).redis(false).proxied(true)).await;
    let dial = Arc::new(AtomicU64::new(USUAL));
    let with = async |policy, without: &[&str]| {
        let mut config = dbopt_tests::config(&cluster);
        config.routing.balance = policy;
        config.database.nodes.retain(|node| !without.contains(&node.name.as_str()));
        (config.cluster.host.interval, config.cluster.host.timeout) =
            (Duration::from_secs(1), Duration::from_millis(500));
        let db = Db::builder(config).host_source(Dial(dial.clone())).connect().await.context("connect")?;
        anyhow::Ok(Things { db })
    };
    let ways = [
        ("balanced", with(Policy::Weighted, &[]).await?),
        ("round robin", with(Policy::RoundRobin, &[]).await?),
        ("healthy ones only", with(Policy::RoundRobin, &["replica-1", "replica-2"]).await?),
    ];
    for (_, things) in &ways {
        things.set(1, 1).await?;
    }
    let outcome = run(&cli, &cluster, &ways, &dial).await?;
    println!("{}", table(&outcome));
    if let Some(path) = &cli.json {
        std::fs::write(path, serde_json::to_string_pretty(&outcome)?).context("write the figures")?;
    }
    if let Some(path) = &cli.svg {
        std::fs::write(path, plot::draw(&outcome)?).context("draw the figures")?;
    }
    Ok(())
}

async fn run(cli: &Cli, cluster: &Cluster, ways: &[(&'static str, Things); 3], dial: &AtomicU64) -> Result<Outcome> {
    let began = Instant::now();
    let bad = (cli.seconds, 2 * cli.seconds);
    let end = began + Duration::from_secs(3 * cli.seconds);
    let generators: Vec<_> = ways
        .iter()
        .map(|(_, things)| {
            let reads = Reads::default();
            (reads.clone(), tokio::spawn(generate(things.clone(), began, end, cli.rate, reads)))
        })
        .collect();
    let watching = tokio::spawn(watch(ways[0].1.clone(), end));
    let burning = burners(cli.burn, cluster.primary().direct_url());
    sleep_until(began + Duration::from_secs(bad.0)).await;
    drop(burning);
    let proxy = cluster.replica(1).proxy().context("a proxy")?;
    proxy.delay(Duration::from_millis(cli.delay / 2));
    let burning = burners(cli.burn, cluster.replica(2).direct_url());
    dial.store(cli.cpu, Ordering::Relaxed);
    sleep_until(began + Duration::from_secs(bad.1)).await;
    proxy.delay(Duration::ZERO);
    drop(burning);
    dial.store(USUAL, Ordering::Relaxed);
    let _burning = burners(cli.burn, cluster.primary().direct_url());
    let mut figures = Vec::new();
    for ((reads, generator), (name, _)) in generators.into_iter().zip(ways) {
        let errors = generator.await?;
        let reads = std::mem::take(&mut *reads.lock());
        figures.push(judge(name, &reads, errors, cli.seconds));
    }
    let control = figures.last().map_or(1.0, |figures| figures.slow_ms);
    figures.iter_mut().for_each(|figures| figures.ratio = figures.slow_ms / control);
    Ok(Outcome { figures, parts: watching.await?, bad })
}

/// Begins reads at a steady rate, whether earlier ones have ended or not; gives the number of those that failed.
async fn generate(things: Things, began: Instant, end: Instant, rate: u32, reads: Reads) -> usize {
    let mut ticks = interval(Duration::from_secs(1) / rate);
    let mut under_way = JoinSet::new();
    loop {
        let due = ticks.tick().await;
        if due >= end {
            break;
        }
        let (things, reads) = (things.clone(), reads.clone());
        under_way.spawn(async move {
            let done = things.value(1).await;
            let took = due.elapsed().as_secs_f64() * 1e3;
            reads.lock().push((due.saturating_duration_since(began).as_secs_f64(), took));
            usize::from(done.is_err())
        });
    }
    under_way.join_all().await.into_iter().sum()
}

/// Each replica's part of the weights, second by second.
async fn watch(things: Things, end: Instant) -> BTreeMap<String, Vec<f64>> {
    let mut parts: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut ticks = interval(Duration::from_secs(1));
    while ticks.tick().await < end {
        let nodes = things.db.status().nodes;
        let weights = || nodes.iter().filter_map(|n| Some((n.name.to_string(), n.balance?.weight)));
        let all: f64 = weights().map(|(_, weight)| weight).sum();
        for (name, weight) in weights() {
            parts.entry(name).or_default().push(weight / all.max(f64::MIN_POSITIVE));
        }
    }
    parts
}

/// So many sessions that keep the server's processors in use until they are dropped.
fn burners(count: usize, url: String) -> JoinSet<()> {
    let mut all = JoinSet::new();
    for _ in 0..count {
        let url = url.clone();
        all.spawn(async move { burn(&url).await });
    }
    all
}

/// Keeps a processor in use from a session on the server.
async fn burn(url: &str) {
    let Ok((client, connection)) = tokio_postgres::connect(url, tokio_postgres::NoTls).await else { return };
    let driving = tokio::spawn(connection);
    while client.simple_query("SELECT count(*) FROM generate_series(1, 300000)").await.is_ok() {}
    driving.abort();
}

fn p99(reads: impl Iterator<Item = f64>) -> f64 {
    let mut took: Vec<f64> = reads.collect();
    took.sort_by(f64::total_cmp);
    took.get((took.len() * 99 / 100).min(took.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

fn judge(name: &'static str, reads: &[(f64, f64)], errors: usize, seconds: u64) -> Figures {
    let between = |from: u64, until: u64| {
        let within = move |at: f64| at >= from as f64 && at < until as f64;
        p99(reads.iter().filter(|(at, _)| within(*at)).map(|(_, took)| *took))
    };
    // The first seconds open connections; what turned bad has ten seconds to be found out.
    let (healthy, slow) = (between(5, seconds), between(seconds + 10, 2 * seconds));
    Figures {
        name,
        reads: reads.len(),
        errors,
        healthy_ms: healthy,
        slow_ms: slow,
        after_ms: between(2 * seconds + 10, 3 * seconds),
        ratio: 1.0,
        course_ms: (0..3 * seconds).map(|second| between(second, second + 1)).collect(),
    }
}

fn table(outcome: &Outcome) -> Table {
    let mut table = Table::new();
    table.set_header([
        "",
        "reads",
        "errors",
        "p99 healthy",
        "p99 with slow replicas",
        "to healthy ones",
        "p99 afterwards",
    ]);
    for figures in &outcome.figures {
        let ms = |value: f64| format!("{value:.1} ms");
        table.add_row([
            figures.name.to_owned(),
            figures.reads.to_string(),
            figures.errors.to_string(),
            ms(figures.healthy_ms),
            ms(figures.slow_ms),
            format!("{:.2}", figures.ratio),
            ms(figures.after_ms),
        ]);
    }
    table
}
