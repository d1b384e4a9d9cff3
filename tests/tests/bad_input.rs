//! What cannot work says what to do instead, and what went wrong half-way is told as it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dbopt_diesel::dev::{Cluster, Shutdown};
use dbopt_diesel::prelude::*;
use dbopt_diesel::{Error, ErrorKind, Intent, Op};
use dbopt_tests::things::things as table;
use dbopt_tests::{Things, cluster, config, connect, named, prepared, until};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

static READ: Op = Op::new("read", Intent::Read);
static WRITE: Op = Op::new("write", Intent::Write);
static AGAIN: Op = Op::new("again", Intent::Write).idempotent();

/// Why nobody can be connected to with these URLs.
async fn refusal<S: Into<String>>(urls: impl IntoIterator<Item = S>) -> String {
    let connecting = Db::connect(Config::for_urls(urls));
    let start = Instant::now();
    let error = timeout(Duration::from_secs(20), connecting).await.expect("it ends").map(drop).unwrap_err().to_string();
    println!("{:?}: {error}", start.elapsed());
    error
}

/// diesel-async has a `load` for everything.
fn count(runs: &AtomicU32) -> u32 {
    AtomicU32::load(runs, Ordering::Relaxed)
}

fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[tokio::test]
async fn urls_that_cannot_be_used() {
    for (url, parts) in [
        ("", &["DBOPT_DATABASE_URL"][..]),
        ("mysql://u@h/d", &["postgres://user:password@host:5432/database"]),
        ("host=h user=u", &["postgres://user:password@host:5432/database"]),
        ("postgres://h/d", &["no user", "postgres://user@host"]),
        ("postgres://u@h:99999/d", &["port"]),
        ("postgres://u@h/d?nonsense=1", &["nonsense"]),
        ("postgres://u@h/d?sslmode=maybe", &["sslmode=maybe", "verify-full"]),
        ("postgres://u@a,b/d", &["2 hosts", "database.replicas"]),
        ("postgres://u@h/d?sslrootcert=%zz", &["hexadecimal"]),
    ] {
        holds(&refusal([url]).await, parts);
    }
    holds(&refusal(["postgres://u@h/d", "postgres://u@h/d"]).await, &["two servers are called `h`"]);
}

#[test]
fn settings_that_cannot_be_used() {
    let refused = |text: &str, variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::from_sources("dbopt.toml", text, variables).unwrap_err().to_string()
    };
    let file = "[database]\nurl = \"postgres://u@h/d\"\n[pool]\n";
    holds(&refused(&format!("{file}maxx = 3"), &[]), &["dbopt.toml line 4", "did you mean `max`?"]);
    holds(&refused(file, &[("DBOPT_POOL_MAXX", "3")]), &["DBOPT_POOL_MAXX", "did you mean `DBOPT_POOL_MAX`?"]);
    holds(&refused(&format!("{file}idle_timeout = \"5 parsecs\""), &[]), &["line 4"]);
    holds(&refused(&format!("{file}idle_timeout = 300"), &[]), &["line 4", "\"30s\""]);
    holds(&refused(&format!("{file}min = 60"), &[]), &["pool.min = 60", "lower min or raise max"]);
    holds(&refused(&format!("{file}max = -1"), &[]), &["line 4"]);
    holds(
        &refused(file, &[("DBOPT_CALL_TIMEOUT", "5"), ("DBOPT_POOL_MIN", "60")]),
        &["DBOPT_CALL_TIMEOUT", "DBOPT_POOL_MIN"],
    );
}

#[tokio::test]
async fn servers_that_refuse() {
    let cluster = prepared(
        Cluster::builder().replicas(0).redis(false).password("right").setting("superuser_reserved_connections", "3"),
    )
    .await;
    let url = cluster.primary().url();
    holds(
        &refusal([url.replace("right", "wrong")]).await,
        &["password authentication failed", "28P01", "check the user and password"],
    );
    holds(&refusal([url.replace(":right", "")]).await, &["password", "check the user and password in the URL"]);
    holds(
        &refusal([url.replace("/app", "/nowhere")]).await,
        &["\"nowhere\" does not exist", "check the database name"],
    );
    holds(&refusal([url.replace("postgres:right", "nobody:x")]).await, &["nobody", "check the user"]);
    cluster.primary().stop(Shutdown::Fast).await.unwrap();
    holds(&refusal([url]).await, &["refused", "is the server running there?"]);
    let elsewhere = refusal(["postgres://u@no-such-host.invalid/d"]).await;
    holds(&elsewhere, &["no-such-host.invalid:5432", "check the host name in the URL"]);
}

#[tokio::test]
async fn a_server_without_room() {
    let cluster = prepared(
        Cluster::builder()
            .replicas(0)
            .redis(false)
            .setting("max_connections", "25")
            .setting("superuser_reserved_connections", "0"),
    )
    .await;
    let mut others = Vec::new();
    while let Ok(conn) = Conn::establish(&cluster.primary().url()).await {
        others.push(conn);
    }
    holds(&refusal([cluster.primary().url()]).await, &["53300", "lower pool.max", "max_connections"]);
}

/// An HTTP server, one that says nothing, and one that hangs up.
#[tokio::test]
async fn what_is_no_postgres_at_all() {
    let (http, silent, rude) = (listen().await, listen().await, listen().await);
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let urls = [&http, &silent, &rude].map(|listener| format!("postgres://u:p@127.0.0.1:{}/d", port(listener)));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = http.accept().await {
            let _ = stream.read(&mut [0; 64]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    tokio::spawn(async move { while rude.accept().await.is_ok() {} });
    let mut kept = Vec::new();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = silent.accept().await {
            kept.push(stream);
        }
    });
    holds(&refusal([urls[0].as_str()]).await, &["no PostgreSQL server", "check host and port"]);
    holds(&refusal([format!("{}?sslmode=disable", urls[0])]).await, &["no PostgreSQL server"]);
    holds(&refusal([urls[1].as_str()]).await, &["no answer within"]);
    let error = Conn::establish(&format!("{}?connect_timeout=1", urls[1])).await.map(drop).unwrap_err().to_string();
    holds(&error, &["no answer within 1s", "firewall"]);
    for mode in ["prefer", "disable"] {
        let error = refusal([format!("{}?sslmode={mode}", urls[2])]).await;
        assert!(error.contains("ended before TLS") || error.contains("ended during the login"), "{error}");
    }
    serving.abort();
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Whichever answers first: the primary decides which cluster it is.
#[tokio::test]
async fn a_replica_of_another_cluster_is_used_for_nothing() {
    let ours = prepared(Cluster::builder().replicas(1).redis(false).proxied(true)).await;
    let theirs = cluster(1).await;
    for slow in [Duration::ZERO, Duration::from_millis(30)] {
        ours.nodes().iter().for_each(|node| node.proxy().unwrap().delay(slow));
        let nodes =
            [("primary", ours.primary().url()), ("ours", ours.replica(1).url()), ("theirs", theirs.replica(1).url())];
        let things = Things { db: connect(named(nodes)).await };
        for _ in 0..20 {
            assert_ne!(things.read_port().await, Ok(theirs.replica(1).port().into()), "{slow:?}");
        }
        let status = things.db.status();
        let foreign = &status.nodes[2];
        assert_eq!(serde_json::to_value(foreign.state).unwrap(), "foreign");
        holds(foreign.cause.as_deref().unwrap(), &["another cluster"]);
        assert_eq!(foreign.calls.values().sum::<u64>(), 0);
        assert_eq!(things.set(1, 1).await, Ok(1));
    }
}

#[tokio::test]
async fn urls_of_standbys_only() {
    let cluster = cluster(2).await;
    let things = Things { db: connect(named(cluster.replicas().iter().map(|r| (r.name(), r.url())))).await };
    assert!(things.read_port().await.is_ok());
    let start = Instant::now();
    let error = things.set(1, 1).await.unwrap_err();
    assert!(matches!(Error::of(&error).map(Error::kind), Some(ErrorKind::Unavailable { .. })), "{error}");
    assert!(start.elapsed() < Duration::from_secs(1));
    println!("{error}");
}

#[tokio::test]
async fn a_write_in_a_read_is_named() {
    let cluster = cluster(1).await;
    let db = connect(config(&cluster)).await;
    for op in [&READ, &PRIMARY] {
        let insert = async |conn: &mut Conn| {
            diesel::insert_into(table::table).values((table::id.eq(1), table::value.eq(1))).execute(conn).await
        };
        let error = db.read(op, insert).await.unwrap_err();
        assert!(matches!(Error::of(&error).map(Error::kind), Some(ErrorKind::WroteInRead { .. })), "{error}");
        holds(&error.to_string(), &["#[read]", "mark it #[write]"]);
    }
    let nested = db
        .read(&READ, async |conn| conn.transaction(async |c| c.batch_execute("DELETE FROM things").await).await)
        .await;
    assert!(matches!(Error::of(&nested.unwrap_err()).map(Error::kind), Some(ErrorKind::WroteInRead { .. })));
    assert_eq!(Things { db }.value(1).await, Ok(None));
}

static PRIMARY: Op = Op::new("primary", Intent::Read).from_primary();

#[tokio::test]
async fn a_body_that_hides_a_failure_has_written_nothing() {
    let cluster = cluster(0).await;
    let things = Things { db: connect(config(&cluster)).await };
    let hides = things.db.write(&WRITE, async |conn| {
        things.set_in(conn, 1, 1).await?;
        let _ = conn.batch_execute("SELECT 1 / 0").await;
        QueryResult::Ok(())
    });
    let error = hides.await.unwrap_err();
    assert!(matches!(Error::of(&error).map(Error::kind), Some(ErrorKind::RolledBack { .. })), "{error}");
    holds(&error.to_string(), &["nothing was written", "return the error"]);
    assert_eq!(things.value(1).await, Ok(None));
    let caught = things.db.write(&WRITE, async |conn| {
        things.set_in(conn, 1, 1).await?;
        let _ = conn.transaction(async |conn| conn.batch_execute("SELECT 1 / 0").await).await;
        QueryResult::Ok(())
    });
    assert_eq!(caught.await, Ok(()), "the way that the message recommends");
    assert_eq!(things.value(1).await, Ok(Some(1)));
}

/// COMMIT fails for a reason of its own: the error is that one, not what the body met and handled before.
#[tokio::test]
async fn a_commit_that_the_server_refuses() {
    let cluster = cluster(0).await;
    let late = "CREATE TABLE late (id bigint REFERENCES things DEFERRABLE INITIALLY DEFERRED)";
    cluster.primary().execute(late).await.unwrap();
    let things = Things { db: connect(config(&cluster)).await };
    for scope in [true, false] {
        let write = things.db.write(&WRITE, async |conn| {
            things.set_in(conn, 1, 1).await?;
            let slow = "SET LOCAL statement_timeout = 10; SELECT pg_sleep(5)";
            assert!(conn.transaction(async |conn| conn.batch_execute(slow).await).await.is_err());
            conn.batch_execute("INSERT INTO late VALUES (99)").await
        });
        let error = if scope { Context::anonymous().scope(write).await } else { write.await }.unwrap_err();
        match Error::of(&error).map(Error::kind) {
            Some(ErrorKind::Database { doing: "COMMIT", sqlstate: Some(code), .. }) => {
                assert_eq!(code.as_str(), "23503")
            }
            _ => panic!("{error}"),
        }
        holds(&error.to_string(), &["refused to COMMIT", "foreign key"]);
        assert_eq!(things.value(1).await, Ok(None));
    }
}

/// The connection is lost while COMMIT is on its way: the caller is told that nobody knows, and it is not tried again.
#[tokio::test]
async fn a_commit_whose_answer_is_lost() {
    let cluster = prepared(Cluster::builder().replicas(0).redis(false).proxied(true)).await;
    let things = Things { db: connect(config(&cluster)).await };
    let proxy = cluster.primary().proxy().unwrap();
    for (round, op, with_context) in [(0, &WRITE, false), (1, &WRITE, true), (2, &AGAIN, false), (3, &AGAIN, true)] {
        let runs = AtomicU32::new(0);
        let write = things.db.write(op, async |conn| {
            runs.fetch_add(1, Ordering::Relaxed);
            things.set_in(conn, round, 1).await?;
            proxy.stall();
            QueryResult::Ok(())
        });
        let cut = async {
            until("the body is over", Duration::from_secs(5), async || count(&runs) == 1).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            if round % 2 == 0 { proxy.cut() } else { proxy.reset() }
        };
        let call = async { if with_context { Context::anonymous().scope(write).await } else { write.await } };
        let (outcome, ()) = timeout(Duration::from_secs(10), async { tokio::join!(call, cut) }).await.unwrap();
        let error = outcome.unwrap_err();
        let kind = Error::of(&error).map(Error::kind);
        assert!(matches!(kind, Some(ErrorKind::OutcomeUnknown { .. })), "{error}");
        holds(&error.to_string(), &["not known whether the write", "check before you repeat it"]);
        assert!(!Error::of(&error).unwrap().is_retryable());
        assert_eq!(count(&runs), 1);
        proxy.heal();
        until("calls work again", Duration::from_secs(10), async || things.set(100, round).await.is_ok()).await;
    }
}

#[tokio::test]
async fn a_read_that_fails_for_its_own_reasons_is_run_once() {
    let cluster = cluster(2).await;
    let db = connect(config(&cluster)).await;
    let runs = AtomicU32::new(0);
    let own_reasons = [
        "SELECT 1 / 0",
        "SELECT nonsense",
        "SELECT * FROM nowhere",
        "DO $$ BEGIN RAISE 'no' USING ERRCODE = 'P0001'; END $$",
    ];
    for sql in own_reasons {
        let read = db.read(&READ, async |conn| {
            runs.fetch_add(1, Ordering::Relaxed);
            conn.batch_execute(sql).await
        });
        assert!(read.await.is_err());
    }
    let none = db.read(&READ, async |conn| {
        runs.fetch_add(1, Ordering::Relaxed);
        table::table.find(1).select(table::value).first::<i64>(conn).await
    });
    assert_eq!(none.await, Err(diesel::result::Error::NotFound));
    assert_eq!(count(&runs) as usize, own_reasons.len() + 1);
    let healthy = db.status().nodes.iter().all(|n| serde_json::to_value(n.state).unwrap() == "healthy");
    assert!(healthy, "and no node is blamed");
}
