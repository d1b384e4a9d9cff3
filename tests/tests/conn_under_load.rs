//! Cancellations and killed sessions in the thick of it: every caller gets its own answer, and nothing is left over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use dbopt_diesel::dev::{Cluster, Node};
use dbopt_diesel::prelude::*;
use dbopt_diesel::{Intent, Op};
use dbopt_tests::things::{pg_sleep, things as table};
use dbopt_tests::{Things, cluster, config, connect, session_count, until};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::StreamExt;
use tokio::time::timeout;

static READ: Op = Op::new("read", Intent::Read);
static WRITE: Op = Op::new("write", Intent::Write);

/// xorshift64*: enough to vary times, and the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// A call of kind `kind` that may take a while; it checks that what it is answered is its own.
async fn call(things: &Things, kind: u64, value: i64, millis: u64) -> QueryResult<()> {
    let seconds = millis as f64 / 1000.0;
    match kind {
        0 => {
            let seen = things.db.read(&READ, async |conn| {
                diesel::select(pg_sleep(seconds)).execute(conn).await?;
                diesel::select(value.into_sql::<BigInt>()).get_result::<i64>(conn).await
            });
            assert_eq!(seen.await?, value);
        }
        1 => {
            let pair = things.db.read(&READ, async |conn| {
                let (mut a, mut b) = (&**conn, &**conn);
                let first =
                    diesel::select((value.into_sql::<BigInt>(), pg_sleep(seconds))).get_result::<(i64, String)>(&mut a);
                let second = diesel::sql_query("SELECT $1 AS n").bind::<BigInt, _>(-value).get_result::<Row>(&mut b);
                tokio::try_join!(first, second)
            });
            let ((first, _), second) = pair.await?;
            assert_eq!((first, second.n), (value, -value));
        }
        2 => {
            let rows = things.db.read(&READ, async |conn| {
                let sql = format!("SELECT {value}::bigint AS n FROM (SELECT generate_series(1, 20000)) AS x");
                let rows = diesel::sql_query(sql).load_stream::<Row>(conn).await?;
                let some: Vec<_> = rows.take(1 + millis as usize * 100).collect().await;
                some.into_iter().collect::<QueryResult<Vec<_>>>()
            });
            assert!(rows.await?.iter().all(|row| row.n == value));
        }
        _ => {
            let written = things.db.write(&WRITE, async |conn| {
                things.set_in(conn, value, value).await?;
                conn.transaction(async |conn| {
                    diesel::select(pg_sleep(seconds)).execute(conn).await?;
                    diesel::update(table::table.find(value)).set(table::value.eq(-value)).execute(conn).await
                })
                .await
            });
            assert_eq!(written.await?, 1);
        }
    }
    Ok(())
}

async fn busy(node: &Node) -> Option<String> {
    let sql = "SELECT string_agg(state || ': ' || query, '; ') FROM pg_stat_activity WHERE application_name LIKE 'dbopt %' \
               AND application_name NOT IN ('dbopt probe', 'dbopt-dev') AND state <> 'idle'";
    node.query_text(sql).await.unwrap()
}

/// 500 calls of every kind, each dropped at a random moment or let through, by 16 tasks at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_random_cancellations_leave_nothing_behind() {
    let cluster = cluster(1).await;
    let mut config = config(&cluster);
    (config.pool.min, config.pool.max) = (6, 12);
    let things = Things { db: connect(config).await };
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let things = things.clone();
            tokio::spawn(async move {
                let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (task + 1));
                let (mut dropped, mut done) = (0, 0);
                while dropped < 32 {
                    let value = i64::try_from(task * 100_000 + dropped * 100 + done % 100).unwrap() + 1;
                    let (kind, millis) = (random.below(4), random.below(6));
                    // Most are dropped early on; the others late, or not at all.
                    let patience = if random.below(3) > 0 { random.below(12_000) } else { random.below(500_000) };
                    match timeout(Duration::from_micros(patience), call(&things, kind, value, millis)).await {
                        Ok(result) => {
                            result.unwrap();
                            done += 1;
                        }
                        Err(_) => dropped += 1,
                    }
                }
                (dropped, done)
            })
        })
        .collect();
    let (mut dropped, mut done) = (0, 0);
    for task in tasks {
        let (d, n) = task.await.expect("every caller gets its own answer");
        (dropped, done) = (dropped + d, done + n);
    }
    println!("{dropped} calls dropped, {done} done");
    assert!(dropped >= 500 && done >= 100);
    settled(&cluster, &things.db).await;
    // An interrupted call has written all or nothing.
    let half = cluster.primary().query_text("SELECT count(*) FROM things WHERE value > 0").await.unwrap();
    assert_eq!(half.as_deref(), Some("0"));
    for value in 1..200 {
        call(&things, value % 4, value as i64, 0).await.unwrap();
    }
}

/// Nothing runs, nothing is in a transaction, no connection is counted as used, and the servers know as many as the pools.
async fn settled(cluster: &Cluster, db: &Db) {
    for node in cluster.nodes() {
        until("nothing runs", Duration::from_secs(2), async || busy(node).await.is_none()).await;
    }
    until("no connection is in use", Duration::from_secs(2), async || db.status().connections.in_use == 0).await;
    let balanced = || async { session_count(cluster).await == db.status().connections.open as i64 };
    until("pools and servers agree", Duration::from_secs(5), balanced).await;
    assert!(db.status().connections.open <= db.status().connections.max);
}

/// Sessions ended by an administrator while they idle in the pools are given to nobody.
#[tokio::test]
async fn a_killed_session_is_given_to_nobody() {
    let cluster = cluster(1).await;
    let things = Things { db: connect(config(&cluster)).await };
    let ours = "pg_stat_activity WHERE application_name IN ('dbopt read', 'dbopt write', 'dbopt critical')";
    for round in 0..5 {
        for node in cluster.nodes() {
            let before =
                node.query_text(&format!("SELECT string_agg(pid::text, ',') FROM {ours}")).await.unwrap().unwrap();
            node.execute(&format!("SELECT pg_terminate_backend(pid) FROM {ours}")).await.unwrap();
            let left = format!("SELECT count(*) FROM pg_stat_activity WHERE pid IN ({before})");
            until("they are gone", Duration::from_secs(2), async || {
                node.query_text(&left).await.unwrap().as_deref() == Some("0")
            })
            .await;
        }
        for id in 0..20 {
            things.set(id, round).await.unwrap();
            things.critical_set(id, round).await.unwrap();
            things.read_port().await.unwrap();
        }
    }
}

/// Its session is ended under a running read: it is run again, and the caller sees no error; a write's caller is told.
#[tokio::test]
async fn a_session_killed_in_the_middle_costs_a_reader_nothing() {
    let cluster = cluster(1).await;
    let things = Things { db: connect(config(&cluster)).await };
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' \
                AND application_name LIKE 'dbopt %'";
    let killed = async |node: &Node| {
        until("it runs and is killed", Duration::from_secs(5), async || node.query_text(kill).await.unwrap().is_some())
            .await;
    };
    let (read, ()) = tokio::join!(things.slow_read(0.5), killed(cluster.replica(1)));
    assert!(read.is_ok(), "{read:?}");
    let (write, ()) = tokio::join!(things.slow_write(5.0), killed(cluster.primary()));
    let error = write.unwrap_err().to_string();
    assert!(error.contains("terminating connection"), "{error}");
    assert_eq!(things.set(1, 1).await, Ok(1));
}

/// The only server dies under a call: the caller learns it at once, and is served when the server is back.
#[tokio::test]
async fn a_server_killed_during_a_call_is_noticed_at_once() {
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    // A call that waits for the server to return is in r11.
    (config.retry.attempts, config.failover.wait_limit) = (0, 0);
    let things = Things { db: connect(config).await };
    let killed = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.primary().kill().await.unwrap();
    };
    let (read, ()) =
        timeout(Duration::from_secs(5), async { tokio::join!(things.slow_read(60.0), killed) }).await.unwrap();
    assert!(read.is_err());
    cluster.primary().start().await.unwrap();
    until("calls work again", Duration::from_secs(10), async || things.read_port().await.is_ok()).await;
}

/// A script that makes the server wait for data, which diesel-async cannot send, poisons no connection.
#[tokio::test]
async fn copy_from_the_client_is_refused_and_harms_nobody() {
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    (config.pool.min, config.pool.max) = (3, 3);
    let things = Things { db: connect(config).await };
    for value in 0..3 {
        let copy = things.db.write(&WRITE, async |conn| conn.batch_execute("COPY things FROM STDIN").await);
        assert!(timeout(Duration::from_secs(5), copy).await.expect("it ends").is_err());
        let copy = things.db.read(&READ, async |conn| conn.batch_execute("COPY things TO STDOUT").await);
        assert!(timeout(Duration::from_secs(5), copy).await.expect("it ends").is_err());
        for id in 0..5 {
            assert_eq!(things.set(id, value).await, Ok(1));
            assert_eq!(things.value(id).await, Ok(Some(value)));
        }
    }
}
