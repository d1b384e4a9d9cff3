//! `dbopt cache` on a real Redis and a real primary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

mod schema {
    diesel::table! { rooms (id) { id -> BigInt, name -> Text, } }
}
use schema::rooms;

struct Rooms {
    db: Db,
}

#[repository(crate = dbopt_diesel)]
impl Rooms {
    #[cached(tags = ["room:{id}"])]
    async fn name(&self, conn: &mut Conn, id: i64) -> QueryResult<String> {
        rooms::table.find(id).select(rooms::name).first(conn).await
    }
}

/// A cluster, an application on it that has cached two rooms, and the variables that point to both.
async fn filled() -> (Cluster, Rooms, Vec<(&'static str, String)>) {
    let cluster = Cluster::builder().replicas(1).start().await.unwrap();
    let schema = "CREATE TABLE rooms (id bigint PRIMARY KEY, name text NOT NULL); INSERT INTO rooms VALUES (1, 'red'), (2, 'blue')";
    cluster.primary().execute(schema).await.unwrap();
    cluster.wait_caught_up(Duration::from_secs(10)).await.unwrap();
    let mut config = Config::for_urls(cluster.nodes().iter().map(|node| node.url()));
    let redis = cluster.redis().unwrap().url();
    config.cache.redis = redis.as_str().into();
    config.cache.timeout = Duration::from_millis(250);
    let rooms = Rooms { db: Db::connect(config).await.unwrap() };
    until("Redis is connected", async || rooms.db.cache().status().redis == "up").await;
    for (id, name) in [(1, "red"), (2, "blue")] {
        assert_eq!(rooms.name(id).await.unwrap(), name);
    }
    until("both are in Redis", async || rooms.db.cache().status().l2_stored == 2).await;
    let variables = vec![("DBOPT_CACHE_REDIS", redis), ("DBOPT_DATABASE_URL", cluster.primary().url())];
    (cluster, rooms, variables)
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < give_up, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn dbopt(variables: &[(&str, String)], arguments: &[&str]) -> (bool, String, String) {
    let (code, out, err) = command::dbopt(variables, ["cache"].iter().chain(arguments).copied()).await;
    (code == Some(0), out, err)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_changed_is_invalidated_on_running_instances() {
    let (cluster, rooms, variables) = filled().await;
    let (ok, stats, _) = dbopt(&variables, &["stats", "--json", "--method", "Rooms::name"]).await;
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert!(
        ok && stats["values"] == 2 && stats["tags"] == 2 && stats["entries"].as_array().unwrap().len() == 2,
        "{stats}"
    );

    cluster.primary().execute("UPDATE rooms SET name = 'green' WHERE id = 1").await.unwrap();
    assert_eq!(rooms.name(1).await.unwrap(), "red", "dbopt cannot know");
    let (ok, said, error) = dbopt(&variables, &["invalidate", "--tag", "room:1"]).await;
    assert!(ok && said.starts_with("invalidated 1 tag, as of 1-"), "{said}{error}");
    until("the instance hears of it", async || rooms.name(1).await.unwrap() == "green").await;

    cluster.primary().execute("UPDATE rooms SET name = 'black'").await.unwrap();
    let (ok, said, _) = dbopt(&variables, &["invalidate", "--pattern", "room:*", "--dry-run"]).await;
    assert!(ok && said.starts_with("would invalidate 2 names"), "{said}");
    assert_eq!(rooms.name(2).await.unwrap(), "blue", "a dry run changes nothing");
    let (ok, said, _) = dbopt(&variables, &["invalidate", "--pattern", "room:*"]).await;
    assert!(ok && said.starts_with("invalidated 2 names that match, as of 1-"), "{said}");
    until("the instance hears of it", async || rooms.name(2).await.unwrap() == "black").await;

    cluster.primary().execute("UPDATE rooms SET name = 'white'").await.unwrap();
    let (ok, said, _) = dbopt(&variables, &["clear"]).await;
    assert!(ok && said.starts_with("cleared the namespace default, as of 1-"), "{said}");
    until("the instance hears of it", async || rooms.name(1).await.unwrap() == "white").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_it_says_what_that_costs() {
    let (cluster, rooms, variables) = filled().await;
    cluster.primary().execute("UPDATE rooms SET name = 'green'").await.unwrap();
    let (ok, said, error) = dbopt(&variables[..1], &["invalidate", "--tag", "room:1", "--tag", "room:2"]).await;
    assert!(ok && said.trim() == "invalidated 2 tags" && error.contains("no database is configured"), "{said}{error}");
    until("the instance hears of it", async || rooms.name(2).await.unwrap() == "green").await;
}

#[tokio::test]
async fn mistakes_are_told_without_secrets() {
    let nowhere = [("DBOPT_CACHE_REDIS", "redis://u:hunter2@127.0.0.1:1/0".to_owned())];
    for (variables, arguments, expected) in [
        (&[][..], &["stats"][..], "set DBOPT_CACHE_REDIS=redis://"),
        (&nowhere[..], &["stats"], "Redis at 127.0.0.1:1 does not answer"),
        (&[], &["--redis", "hunter2", "stats"], "write it as redis://"),
        (&[], &["invalidate"], "--tag <TAG>"),
        (&[], &["invalidate", "--tag", "a", "--dry-run"], "cannot be used with"),
        (&[], &["warm"], "<URL>"),
        (&[], &["warm", "https://example.invalid/"], "does not speak TLS"),
        (&[], &["warm", "--from", "/nowhere"], "cannot read /nowhere"),
    ] {
        let (ok, said, error) = dbopt(variables, arguments).await;
        assert!(
            !ok && error.contains(expected) && !format!("{said}{error}").contains("hunter2"),
            "{arguments:?}: {said}{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn warming_fetches_everything_a_few_at_a_time() {
    let (now, most, all) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (now, most.clone(), all.clone());
    let page = async move || {
        let (now, most, all) = counters;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        sleep(Duration::from_millis(20)).await;
        now.fetch_sub(1, Ordering::SeqCst);
        all.fetch_add(1, Ordering::SeqCst);
        "warm"
    };
    let broken = async || StatusCode::INTERNAL_SERVER_ERROR;
    let service = Router::new().route("/page/{id}", get(page)).route("/broken", get(broken));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, service).await });

    let urls: Vec<String> = (0..20).map(|id| format!("{base}/page/{id}")).collect();
    let mut arguments = vec!["warm", "--concurrency", "3"];
    arguments.extend(urls.iter().map(String::as_str));
    let (ok, said, error) = dbopt(&[], &arguments).await;
    assert!(ok && said.starts_with("fetched 20 in ") && said.contains(", 0 failed"), "{said}{error}");
    // diesel-async has a `load` for everything.
    let counted = [&all, &most].map(|count| AtomicUsize::load(count, Ordering::SeqCst));
    assert_eq!(counted, [20, 3]);

    let (ok, said, error) = dbopt(&[], &["warm", &urls[0], &format!("{base}/broken")]).await;
    assert!(
        !ok && said.contains("fetched 1 in") && said.contains("1 failed") && error.contains("/broken: 500"),
        "{said}{error}"
    );
}
