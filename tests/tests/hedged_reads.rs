//! Reads that are asked of a second replica, on real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use dbopt_diesel::core::observe::HedgeCounts;
use dbopt_diesel::core::route::balance::Policy;
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use dbopt_tests::outage::metrics;
use dbopt_tests::{Things, calls, cluster, config, connect, prepared, until};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Double, Integer};
use diesel_async::RunQueryDsl;
use tokio::time::Instant;

const AFTER: Duration = Duration::from_millis(30);
const ROUND_TRIP: Duration = Duration::from_millis(300);

diesel::define_sql_function! {
    /// Sleeps on the server.
    fn pg_sleep(seconds: Double) -> Text;
}

/// A repository whose reads are asked twice after 30 ms.
#[derive(Clone)]
struct Hedged {
    db: Db,
}

#[repository]
impl Hedged {
    /// The port of the server that answers.
    #[read(hedge = "30ms")]
    async fn port(&self, conn: &mut Conn) -> QueryResult<i32> {
        diesel::select(sql::<Integer>("inet_server_port()")).get_result(conn).await
    }

    /// The same after a minute on the server at `slow`.
    #[read(hedge = "30ms")]
    async fn port_unless(&self, conn: &mut Conn, slow: i32) -> QueryResult<i32> {
        let unless = sql::<Bool>("CASE inet_server_port() WHEN ")
            .bind::<Integer, _>(slow)
            .sql(" THEN pg_sleep(60)::text = '' ELSE true END");
        diesel::select(sql::<Integer>("inet_server_port()")).filter(unless).get_result(conn).await
    }

    /// Takes its time.
    #[read(hedge = "30ms")]
    async fn slow(&self, conn: &mut Conn, seconds: f64) -> QueryResult<()> {
        diesel::select(pg_sleep(seconds)).execute(conn).await.map(drop)
    }
}

/// Reads in turn, and a budget for all that is asked twice here.
fn hedging(cluster: &Cluster) -> Config {
    let mut config = config(cluster);
    config.routing.balance = Policy::RoundRobin;
    config.routing.hedge_budget = 0.5;
    // A machine that has other things to do is no node that does not answer.
    config.cluster.probe_timeout = Duration::from_millis(950);
    config
}

fn hedges(things: &Things) -> HedgeCounts {
    things.db.status().hedges
}

async fn reads(things: &Things, count: usize) {
    let hedged = Hedged { db: things.db.clone() };
    for _ in 0..count {
        hedged.port().await.unwrap();
    }
}

fn on(things: &Things, node: &str) -> u64 {
    calls(&things.db, "read").get(node).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_replica_makes_no_read_slow() {
    let cluster = prepared(Cluster::builder().replicas(2).redis(false).proxied(true)).await;
    let mut config = hedging(&cluster);
    // A connection whose statement was cancelled is away for some slow round trips, and nobody here is to wait for the next one.
    config.pool.min = config.pool.max;
    let things = Things { db: connect(config).await };
    // They earn the second attempts that are made below.
    reads(&things, 200).await;
    let (before, slow) = (hedges(&things), on(&things, "replica-1"));
    cluster.replica(1).proxy().unwrap().delay(ROUND_TRIP / 2);
    let mut times = Vec::new();
    for _ in 0..12 {
        let began = Instant::now();
        reads(&things, 1).await;
        times.push(began.elapsed());
    }
    let took: Duration = times.iter().sum();
    let won = hedges(&things).won - before.won;
    assert!((5..=6).contains(&won), "every second turn is the slow one's: {:?}", hedges(&things));
    assert_eq!(on(&things, "replica-1") - slow, 6 - won, "who answered is counted");
    assert!(took < ROUND_TRIP * 5, "they took {times:?}");
    let metrics = metrics(&things.db).await;
    assert_eq!(metrics.sum("dbopt_reads_hedged_total", &[("outcome", "won")]), hedges(&things).won as f64);
    // What the replica did not do shows in its weight, where weights count.
    until("its slowness is seen", Duration::from_secs(30), async || {
        reads(&things, 4).await;
        let status = things.db.status();
        let node = status.nodes.iter().find(|node| &*node.name == "replica-1").unwrap();
        node.balance.is_some_and(|balance| balance.slowness > 1.2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lost_is_cancelled_and_its_connection_is_used_again() {
    let cluster = cluster(2).await;
    let things = Things { db: connect(hedging(&cluster)).await };
    reads(&things, 50).await;
    let slow = cluster.replica(1);
    let (server, count) = (slow.port(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dbopt read'");
    let sessions = slow.query_text(count).await.unwrap();
    let hedged = Hedged { db: things.db.clone() };
    for _ in 0..4 {
        assert_ne!(hedged.port_unless(server.into()).await.unwrap(), i32::from(server), "the other replica answers");
    }
    assert_eq!(hedges(&things).won, 2);
    until("the statements are cancelled", Duration::from_secs(10), async || {
        let running = format!("{count} AND state = 'active' AND query LIKE '%pg_sleep%'");
        slow.query_text(&running).await.unwrap().as_deref() == Some("0")
    })
    .await;
    until("the connections are back", Duration::from_secs(10), async || {
        things.db.status().nodes.iter().flat_map(|node| &node.pools).all(|pool| pool.in_use == 0)
    })
    .await;
    assert_eq!(slow.query_text(count).await.unwrap(), sessions, "none was closed");
    let before = on(&things, "replica-1");
    reads(&things, 20).await;
    assert!(on(&things, "replica-1") >= before + 8, "they serve");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_methods_that_ask_for_it_and_only_their_plain_reads() {
    let cluster = cluster(2).await;
    let things = Things { db: connect(hedging(&cluster)).await };
    let hedged = Hedged { db: things.db.clone() };
    reads(&things, 50).await;
    let none = hedges(&things);
    let long = AFTER.as_secs_f64() * 5.0;
    things.slow_read(long).await.unwrap();
    let caller = Context::anonymous();
    caller
        .scope(async {
            things.set(1, 1).await.unwrap();
            cluster.wait_caught_up(Duration::from_secs(10)).await.unwrap();
            hedged.slow(long).await.unwrap();
        })
        .await;
    assert_eq!(hedges(&things), none);
    hedged.slow(long).await.unwrap();
    assert_ne!(hedges(&things), none, "and a plain one is");
}
