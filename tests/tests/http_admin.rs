//! The state over HTTP: what is served, in which states of the cluster, and how fast.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use dbopt_diesel::{ContextLayer, admin};
use dbopt_tests::{Things, cluster, config, connect, openmetrics, until};
use serde_json::Value;
use tokio::time::Instant;
use tower::ServiceExt;

async fn send(router: &Router, request: Request<Body>) -> (StatusCode, Option<String>, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let token = response.headers().get("dbopt-token").map(|t| t.to_str().unwrap().to_owned());
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, token, String::from_utf8(body.to_vec()).unwrap())
}

async fn ask(db: &Db, path: &str) -> (u16, String) {
    let (status, _, body) = send(&admin::router(db), Request::get(path).body(Body::empty()).unwrap()).await;
    (status.as_u16(), body)
}

async fn json(db: &Db, path: &str) -> Value {
    serde_json::from_str(&ask(db, path).await.1).unwrap()
}

async fn used(cluster: &Cluster) -> Things {
    let things = Things { db: connect(config(cluster)).await };
    for id in 0..30 {
        things.set(id, id).await.unwrap();
        things.critical_set(id, id).await.unwrap();
        things.value(id).await.unwrap();
    }
    // An application error, which is no fault of the node.
    let duplicate = things.db.transaction(async |tx| {
        things.set_in(tx, 1, 1).await?;
        Err::<(), _>(diesel::result::Error::NotFound)
    });
    duplicate.await.unwrap_err();
    things
}

#[tokio::test]
async fn metrics_are_openmetrics_and_count_what_happened() {
    let cluster = cluster(2).await;
    let things = used(&cluster).await;
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let response = admin::router(&things.db).oneshot(request).await.unwrap();
    assert!(
        response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text; version=1.0.0")
    );
    let text = ask(&things.db, "/metrics").await.1;
    let metrics = openmetrics::parse(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    println!("{:?}", metrics.families());
    let histogram = metrics.histograms().find(|name| name.contains("call")).expect("a histogram of calls").to_owned();
    let count = |labels: &[(&str, &str)]| metrics.sum(&format!("{histogram}_count"), labels);
    assert_eq!(count(&[("method", "Things::set"), ("node", "primary"), ("lane", "write")]), 30.0);
    assert_eq!(count(&[("method", "Things::critical_set"), ("lane", "critical")]), 30.0);
    assert_eq!(count(&[("method", "Things::value"), ("lane", "read")]), 30.0);
    assert_eq!(count(&[("method", "Things::value"), ("node", "primary")]), 0.0);
    for bound in ["0.001", "0.005", "0.01", "0.05", "0.1"] {
        assert!(metrics.has(&format!("{histogram}_bucket"), &[("le", bound)]), "the targets can be judged: {bound}");
    }
}

#[tokio::test]
async fn metrics_as_json_name_nodes_pools_and_methods() {
    let cluster = cluster(2).await;
    let things = used(&cluster).await;
    let status = json(&things.db, "/metrics/json").await;
    assert_eq!((&status["health"], &status["primary"]), (&"ok".into(), &"primary".into()));
    let nodes = status["nodes"].as_array().unwrap();
    assert_eq!(
        nodes.iter().map(|n| n["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["primary", "replica-1", "replica-2"]
    );
    assert_eq!(
        nodes.iter().map(|n| n["role"].as_str().unwrap()).collect::<Vec<_>>(),
        ["primary", "replica", "replica"]
    );
    let calls = |node: usize| ["read", "write", "critical"].map(|lane| nodes[node]["calls"][lane].as_u64().unwrap());
    assert_eq!(calls(0), [0, 31, 30]);
    assert_eq!(calls(1)[0] + calls(2)[0], 30);
    for node in nodes {
        assert_eq!(node["state"], "healthy");
        assert!(node["lag_seconds"].as_f64().is_some_and(|lag| lag < 5.0), "{node}");
        let pools = node["pools"].as_array().unwrap();
        assert!(!pools.is_empty());
        for pool in pools {
            for key in ["open", "in_use", "waiting", "min", "max"] {
                assert!(pool[key].is_u64(), "{key} in {pool}");
            }
            assert!(pool["last_error"].is_null() && pool["open"].as_u64() <= pool["max"].as_u64(), "{pool}");
        }
    }
    assert!(status["connections"]["open"].as_u64() <= status["connections"]["max"].as_u64());
    assert_eq!(status["connections"]["in_use"], 0);
    let methods = status["methods"].as_array().unwrap();
    let set = methods.iter().find(|m| m["method"] == "Things::set").unwrap();
    assert_eq!((&set["node"], &set["lane"], &set["count"]), (&"primary".into(), &"write".into(), &30.into()));
    let (p50, p99) = (set["p50_ms"].as_f64().unwrap(), set["p99_ms"].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99 && set["mean_ms"].as_f64().unwrap() > 0.0, "{set}");
    let transaction = methods.iter().find(|m| m["method"] == "Db::transaction").unwrap();
    assert_eq!((&transaction["application_errors"], &transaction["infrastructure_errors"]), (&1.into(), &0.into()));
}

async fn codes(db: &Db) -> [u16; 3] {
    [ask(db, "/health").await.0, ask(db, "/health/live").await.0, ask(db, "/health/ready").await.0]
}

async fn becomes(db: &Db, health: &str, wanted: [u16; 3]) {
    let as_wanted = || async { json(db, "/health").await["status"] == health && codes(db).await == wanted };
    until(&format!("{health} {wanted:?}"), Duration::from_secs(15), as_wanted).await;
}

/// Ok, a replica dead, the primary dead, all dead, and back.
#[tokio::test]
async fn health_tells_what_can_be_served() {
    let cluster = cluster(2).await;
    let db = connect(config(&cluster)).await;
    becomes(&db, "ok", [200, 200, 200]).await;
    assert_eq!(json(&db, "/health/live").await["status"], "live");
    cluster.replica(1).kill().await.unwrap();
    becomes(&db, "degraded", [200, 200, 200]).await;
    let health = json(&db, "/health").await;
    assert_eq!((&health["nodes"][1]["state"], &health["primary"]), (&"unreachable".into(), &"primary".into()));
    assert!(health["nodes"][1]["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{health}");
    cluster.primary().kill().await.unwrap();
    // Its replica has nobody to stream from any more, and goes on serving reads, as it lacks nothing.
    let alone = || async {
        let replica = json(&db, "/health").await["nodes"][2].clone();
        let follows_nobody = replica["cause"].as_str().is_some_and(|cause| cause.starts_with("it follows nobody"));
        replica["state"] == "degraded" && follows_nobody
    };
    until("replica-2 is on its own", Duration::from_secs(15), alone).await;
    assert!(Things { db: db.clone() }.read_port().await.is_ok());
    becomes(&db, "degraded", [200, 200, 503]).await;
    let ready = json(&db, "/health/ready").await;
    assert_eq!((&ready["reads"], &ready["writes"]), (&true.into(), &false.into()));
    cluster.replica(2).kill().await.unwrap();
    becomes(&db, "down", [503, 200, 503]).await;
    for node in cluster.nodes() {
        node.start().await.unwrap();
    }
    becomes(&db, "ok", [200, 200, 200]).await;
}

/// Nothing is asked of the servers, so nothing waits for them.
#[tokio::test]
async fn the_routes_answer_at_once_while_every_server_is_frozen() {
    let cluster = cluster(1).await;
    let things = used(&cluster).await;
    for node in cluster.nodes() {
        node.freeze().await.unwrap();
    }
    let mut times = Vec::new();
    let calls: Vec<_> = (0..20)
        .map(|id| {
            let things = things.clone();
            tokio::spawn(async move { things.value(id).await })
        })
        .collect();
    let end = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < end {
        for path in ["/metrics", "/metrics/json", "/health", "/health/live", "/health/ready"] {
            let start = Instant::now();
            ask(&things.db, path).await;
            times.push(start.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("median {median:?}, worst {worst:?} of {}", times.len());
    assert!(median < Duration::from_millis(20) && worst < Duration::from_millis(500), "{median:?} {worst:?}");
    calls.iter().for_each(|call| call.abort());
}

/// An application of one instance, as its users see it.
fn application(things: &Things) -> Router {
    let write = async |State(things): State<Things>, Path((id, value)): Path<(i64, i64)>| {
        things.set(id, value).await.unwrap().to_string()
    };
    let read =
        async |State(things): State<Things>, Path(id): Path<i64>| format!("{:?}", things.value(id).await.unwrap());
    Router::new()
        .route("/things/{id}/{value}", post(write))
        .route("/things/{id}", get(read))
        .layer(ContextLayer::new())
        .with_state(things.clone())
}

/// A client that sends the token back reads its own write from another instance, whose replicas lag.
#[tokio::test]
async fn the_token_header_carries_read_your_writes_between_instances() {
    let cluster = cluster(1).await;
    let [one, other] =
        [connect(config(&cluster)).await, connect(config(&cluster)).await].map(|db| application(&Things { db }));
    let write = |value: i64| Request::post(format!("/things/1/{value}")).body(Body::empty()).unwrap();
    let read = |token: Option<&str>| {
        let request = Request::get("/things/1");
        token
            .into_iter()
            .fold(request, |request, token| request.header("dbopt-token", token))
            .body(Body::empty())
            .unwrap()
    };
    let (_, first, _) = send(&one, write(1)).await;
    cluster.wait_caught_up(Duration::from_secs(5)).await.unwrap();
    cluster.replica(1).pause_replay().await.unwrap();
    let (status, second, _) = send(&one, write(2)).await;
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(status == StatusCode::OK && first != second);
    assert_eq!(send(&other, read(None)).await.2, "Some(1)", "without it, the replica answers");
    assert_eq!(send(&other, read(Some(&first))).await.2, "Some(1)", "an old one asks for no more");
    let (_, none, body) = send(&other, read(Some(&second))).await;
    assert_eq!((body.as_str(), none), ("Some(2)", None));
    assert_eq!(send(&other, read(Some("no token"))).await, (StatusCode::OK, None, "Some(1)".into()));
}
