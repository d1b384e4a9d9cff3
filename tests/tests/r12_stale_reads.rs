//! R12: nobody is shown a result that is older than what they were promised, whatever breaks.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Output};
use std::time::Duration;

use dbopt_diesel::dev::{Cluster, Proxy};
use dbopt_diesel::prelude::*;
use dbopt_tests::{config, connect, until};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;

diesel::table! { registers (id) { id -> BigInt, version -> BigInt, } }

#[derive(Clone)]
struct Registers {
    db: Db,
}

#[repository]
impl Registers {
    #[cached(tags = ["register:{id}"], consistency = "strong")]
    async fn strong(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        registers::table.find(id).select(registers::version).first(conn).await
    }

    #[read]
    async fn plain(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        registers::table.find(id).select(registers::version).first(conn).await
    }

    #[write(invalidates = ["register:{id}"])]
    async fn set(&self, conn: &mut Conn, id: i64, version: i64) -> QueryResult<usize> {
        diesel::update(registers::table.find(id)).set(registers::version.eq(version)).execute(conn).await
    }
}

/// A primary, a replica and Redis; register 1 at version 1.
async fn cluster() -> Cluster {
    let cluster = Cluster::builder().replicas(1).start().await.unwrap();
    cluster.primary().execute("CREATE TABLE registers (id bigint PRIMARY KEY, version bigint NOT NULL)").await.unwrap();
    cluster.primary().execute("INSERT INTO registers VALUES (1, 1)").await.unwrap();
    cluster.wait_caught_up(Duration::from_secs(10)).await.unwrap();
    cluster
}

/// An instance with a way to Redis of its own.
async fn instance(cluster: &Cluster) -> (Registers, Proxy) {
    let proxy = Proxy::start(([127, 0, 0, 1], cluster.redis().unwrap().port()).into()).await.unwrap();
    let mut config = config(cluster);
    config.cache.redis = format!("redis://127.0.0.1:{}", proxy.port()).as_str().into();
    // A busy machine is not a slow Redis.
    config.cache.timeout = Duration::from_millis(100);
    let registers = Registers { db: connect(config).await };
    until("Redis is up", Duration::from_secs(10), async || registers.db.cache().status().redis == "up").await;
    (registers, proxy)
}

/// A strong reader that Redis does not answer knows of no other instance's writes: a replica may lack them.
#[tokio::test]
async fn a_strong_reader_that_cannot_ask_redis_reads_the_primary() {
    let cluster = cluster().await;
    let ((writer, _), (reader, proxy)) = (instance(&cluster).await, instance(&cluster).await);
    cluster.replica(1).pause_replay().await.unwrap();
    proxy.blackhole();
    writer.set(1, 2).await.unwrap();
    assert_eq!(reader.plain(1).await, Ok(1), "the replica is behind, and is read from");
    assert_eq!(reader.strong(1).await, Ok(2));
}

/// A writer that cannot tell Redis where it committed leaves strong readers without a position to ask a replica for.
#[tokio::test]
async fn a_strong_reader_that_distrusts_a_writer_reads_the_primary() {
    let cluster = cluster().await;
    let ((writer, proxy), (reader, _)) = (instance(&cluster).await, instance(&cluster).await);
    // A write that is delivered: Redis knows the writer.
    writer.set(1, 1).await.unwrap();
    until("it is cached", Duration::from_secs(40), async || {
        let before = reader.db.cache().status().loads;
        reader.strong(1).await.unwrap();
        reader.db.cache().status().loads == before
    })
    .await;
    cluster.replica(1).pause_replay().await.unwrap();
    proxy.blackhole();
    writer.set(1, 2).await.unwrap();
    assert_eq!(reader.plain(1).await, Ok(1), "the replica is behind, and is read from");
    assert_eq!(reader.strong(1).await, Ok(2));
}

/// Runs the history checker; gives its exit and its figures.
fn check(arguments: &[&str]) -> (Output, Value) {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("figures.json");
    let mut checker = Command::new(env!("CARGO_BIN_EXE_stale"));
    let output = checker.args(arguments).arg("--json").arg(&json).output().expect("the checker runs");
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let figures = std::fs::read(json).expect("the checker came to its end");
    (output, serde_json::from_slice(&figures).unwrap())
}

/// Three processes, three replicas, every fault once. The long run is `cargo xtask stale`.
#[test]
fn r12_1_no_read_is_older_than_an_acknowledged_write() {
    let (output, figures) = check(&["--short", "--pace", "60"]);
    assert!(output.status.success(), "see the table above");
    assert!(figures["operations"].as_u64().unwrap() > 2000, "too few to mean something");
    assert!(figures["compared"].as_u64().unwrap() > 500, "too few to mean something");
}

/// The same judge on moka, then DEL in Redis, as it is often written: the test above can fail.
#[test]
fn the_checker_finds_the_violations_of_a_plain_cache_aside() {
    let (output, figures) = check(&["--baseline", "--fault", "lag", "--minutes", "0.1", "--pace", "60"]);
    assert!(!output.status.success());
    let violations = &figures["violations"];
    assert!(violations["older than an own write"].as_u64().unwrap() > 0, "{violations}");
    assert!(violations["strong, older than any write"].as_u64().unwrap() > 0, "{violations}");
    assert_eq!(violations["not written yet"].as_u64().unwrap(), 0, "{violations}");
}
