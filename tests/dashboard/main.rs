//! `dashboard`: brings a cluster into four states and looks at each through the page, in a browser: `cargo xtask dashboard`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use dbopt_diesel::admin;
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use dbopt_tests::shelf::Shelf;
use dbopt_tests::{Things, cached_config, prepared, until};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

/// Looks at the dashboard.
#[derive(Parser)]
struct Cli {
    /// Where the pictures go.
    #[arg(long, value_name = "FOLDER", default_value = "target/dashboard")]
    shots: PathBuf,
    /// The browser.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/chromium")]
    browser: PathBuf,
    /// Do not look: serve the page until Ctrl-C.
    #[arg(long)]
    serve: bool,
}

const PATIENCE: Duration = Duration::from_secs(30);

/// A table that misses an index, and has one that nobody needs.
const BOOKINGS: &str = "CREATE TABLE bookings (id bigint PRIMARY KEY, passenger text NOT NULL, seat int NOT NULL); \
    INSERT INTO bookings SELECT n, 'passenger ' || n, n % 200 FROM generate_series(1, 60000) AS n; \
    CREATE INDEX bookings_twice ON bookings (id); ANALYZE bookings";

mod tables {
    diesel::table! { bookings (id) { id -> BigInt, passenger -> Text, seat -> Integer, } }
}

use tables::bookings;

#[derive(Clone)]
struct Bookings {
    db: Db,
}

#[repository]
impl Bookings {
    #[read]
    async fn of(&self, conn: &mut Conn, passenger: &str) -> QueryResult<Vec<i32>> {
        let of = bookings::table.filter(bookings::passenger.eq(passenger));
        of.select(bookings::seat).order(bookings::id.desc()).limit(20).load(conn).await
    }
}

/// Reads, writes and look-ups, a little more than a hundred a second, whatever comes of them.
async fn traffic(things: Things, shelf: Shelf) {
    let mut calls = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(25));
    for i in 0i64.. {
        ticks.tick().await;
        // Now and then something that Insight has to say a word about.
        if i % 200 == 0 {
            let things = things.clone();
            calls.spawn(async move {
                drop(things.slow_read(0.15).await);
                let one_by_one = async {
                    for id in 0..10 {
                        drop(things.value(id).await);
                    }
                };
                Context::anonymous().scope(one_by_one).await;
            });
        }
        let (things, shelf) = (things.clone(), shelf.clone());
        calls.spawn(async move {
            drop(things.value(i % 100).await);
            drop(shelf.find(i % 40).await);
            drop(if i % 5 == 0 { things.set(i % 100, i).await } else { things.critical_set(i % 100, i).await });
            drop(things.slow_read(0.001 * (i % 7) as f64).await);
        });
        while calls.try_join_next().is_some() {}
    }
}

async fn is(db: &Db, what: &str, mut condition: impl FnMut(&dbopt_diesel::Status) -> bool) {
    until(what, PATIENCE, async || condition(&db.status())).await;
}

struct Looker {
    cli: Cli,
    url: String,
}

impl Looker {
    /// Opens the page; it must say all of `words`, and every part of it must answer to a click.
    async fn look(&self, state: &str, words: &[&str]) -> Result<()> {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("dashboard/browse.mjs");
        let mut browse = Command::new("node");
        browse.arg(script).arg(&self.cli.browser).arg(&self.url).arg(&self.cli.shots).arg(state).args(words);
        let status = browse.stdin(Stdio::null()).kill_on_drop(true).status().await.context("node cannot be started")?;
        ensure!(status.success(), "the page is not as it should be: {state}");
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    std::fs::create_dir_all(&cli.shots)?;
    let cluster = prepared(Cluster::builder().replicas(3).cascade(3, 2)).await;
    let mut config = cached_config(&cluster);
    config.breaker.minimum = 5;
    config.routing.max_lag = Duration::from_secs(3);
    cluster.primary().execute(BOOKINGS).await?;
    cluster.wait_caught_up(PATIENCE).await?;
    let db = Db::connect(config).await?;
    let calls = Bookings { db: db.clone() };
    for n in 0..15 {
        calls.of(&format!("passenger {n}")).await?;
    }
    db.runtime().advise_indexes().await.map_err(anyhow::Error::msg)?;
    let things = Things { db: db.clone() };
    let load = tokio::spawn(traffic(things.clone(), Shelf::new(db.clone())));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    // Nested as well, as applications may do it.
    let router = axum::Router::new().nest("/operations/db", admin::router(&db)).merge(admin::router(&db));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    println!("{url}");
    if cli.serve {
        return Ok(tokio::signal::ctrl_c().await?);
    }
    let looker = Looker { cli, url };

    let all_healthy = |status: &dbopt_diesel::Status| status.nodes.iter().all(|node| node.state.name() == "healthy");
    is(&db, "all is well", all_healthy).await;
    sleep(Duration::from_secs(8)).await;
    looker.look("healthy", &["All is well.", "primary is the primary; 3 of 3 replicas serve reads."]).await?;

    cluster.replica(1).pause_replay().await?;
    let lags = |status: &dbopt_diesel::Status| status.nodes[1].state.name() == "lagging";
    is(&db, "a replica lags", lags).await;
    looker
        .look("lagging", &["something wants to be looked at", "replica-1, a replica, is lagging", "It gets no calls"])
        .await?;
    // A statement on a replica may have to give way to what is replayed.
    until("replay goes on", PATIENCE, async || cluster.replica(1).resume_replay().await.is_ok()).await;
    is(&db, "all is well", all_healthy).await;

    let redis = cluster.redis().context("the cluster has a Redis")?;
    redis.kill().await?;
    is(&db, "Redis is missed", |status| status.cache.redis == "down").await;
    looker.look("redis-down", &["something wants to be looked at", "Redis does not answer"]).await?;
    redis.start().await?;
    is(&db, "Redis is back", |status| status.cache.redis == "up").await;

    cluster.primary().kill().await?;
    is(&db, "the primary is missed", |status| status.nodes[0].state.name() == "unreachable").await;
    looker.look("primary-down", &["Something is broken.", "primary", "is unreachable"]).await?;

    load.abort();
    server.abort();
    db.shutdown().await;
    println!("four states, each told in words; the pictures are in {}", looker.cli.shots.display());
    Ok(())
}
