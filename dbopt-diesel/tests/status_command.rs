//! `dbopt status` of an application whose replica dies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command;

use std::time::Duration;

use command::dbopt;
use dbopt_diesel::admin;
use dbopt_diesel::core::runtime::{Event, EventKind};
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

#[derive(Clone)]
struct Clock {
    db: Db,
}

#[repository(crate = dbopt_diesel)]
impl Clock {
    #[read]
    #[rate_limited(per_user = "1000000/min")]
    async fn now(&self, conn: &mut Conn) -> QueryResult<i32> {
        diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1")).get_result(conn).await
    }
}

async fn application(cluster: &Cluster) -> (Clock, String) {
    let tables: String = cluster
        .nodes()
        .iter()
        .map(|node| format!("[[database.nodes]]\nname = {:?}\nurl = {:?}\n", node.name(), node.url()))
        .collect();
    let mut config = Config::from_toml(&tables).unwrap();
    config.breaker.minimum = 2;
    config.pool.backoff_initial = Duration::from_millis(50);
    let clock = Clock { db: Db::connect(config).await.unwrap() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = admin::router(&clock.db);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (clock, url)
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < give_up, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn status(arguments: &[&str]) -> (Option<i32>, String, String) {
    dbopt::<&str>(&[], ["status"].iter().chain(arguments).copied()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_what_the_application_knows() {
    let cluster = Cluster::builder().replicas(2).redis(false).start().await.unwrap();
    let (clock, url) = application(&cluster).await;
    for _ in 0..20 {
        clock.now().await.unwrap();
    }
    let (code, out, err) = status(&[&url, "--once"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    for expected in ["ok  primary primary", "replica-1", "healthy", "calls 20", "1000000/min", "q quits"] {
        assert_eq!(out.contains(expected), expected != "q quits", "{expected}: {out}");
    }
    let (code, json, _) = status(&[&format!("{url}/metrics/json"), "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, json["primary"].as_str(), json["nodes"].as_array().unwrap().len()),
        (Some(0), Some("primary"), 3)
    );

    cluster.node("replica-1").unwrap().kill().await.unwrap();
    until("the loss is an event", async || {
        clock.now().await.unwrap();
        let told = |event: &Event| event.kind == EventKind::Node && &*event.subject == "replica-1";
        clock.db.status().events.iter().any(told)
    })
    .await;
    let (code, out, err) = status(&[&url, "--once"]).await;
    assert_eq!(code, Some(2), "{out}{err}");
    for expected in ["degraded  primary primary", "unreachable", "events", "healthy -> unreachable"] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
}

#[tokio::test]
async fn mistakes_are_told_with_what_to_write() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", other.local_addr().unwrap());
    let strange = axum::Router::new().route("/metrics/json", axum::routing::get(|| async { "{}" }));
    tokio::spawn(async move { axum::serve(other, strange).await.unwrap() });
    for (arguments, expected) in [
        (&["127.0.0.1:80"][..], "write it as http://host:port"),
        (&["http://127.0.0.1:1"], "nobody answers at http://127.0.0.1:1/metrics/json"),
        (&[address.as_str()], "is no status of dbopt"),
        (&[], "<URL>"),
        (&[address.as_str(), "--interval", "1"], "write 200ms to 1h"),
    ] {
        let (code, out, err) = status(arguments).await;
        assert!(code != Some(0) && err.contains(expected), "{arguments:?}: {out}{err}");
    }
}
