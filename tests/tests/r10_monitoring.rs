//! R10: what a monitor reads of an application, in each of its formats, and that it stays small.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use axum::body::{Body, to_bytes};
use axum::http::Request;
use dbopt_diesel::admin;
use dbopt_diesel::prelude::*;
use dbopt_tests::{Things, cached_config, cluster, cluster_with_redis, config, connect, openmetrics, shelf};
use diesel::QueryResult;
use diesel_async::RunQueryDsl;
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use tower::ServiceExt;

async fn get(db: &Db, path: &str, accept: &str) -> (String, String) {
    let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
    let response = admin::router(db).oneshot(request).await.unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn r10_1_the_figures_of_the_database_stand_under_their_names() {
    let cluster = cluster(1).await;
    let things = Things { db: connect(config(&cluster)).await };
    for id in 0..40 {
        things.set(id, id).await.unwrap();
        things.value(id).await.unwrap();
    }
    let status: Value = serde_json::from_str(&get(&things.db, "/metrics/json", "*/*").await.1).unwrap();
    let database = &status["database"];
    assert_eq!(database["query_count"], 80, "{database}");
    assert_eq!(database["error_rate_percent"], 0.0, "{database}");
    let latency = database["avg_latency_ms"].as_f64().unwrap();
    assert!(latency > 0.01 && latency < 10_000.0, "{database}");
    assert!(database["throughput_qps"].as_f64().unwrap() > 0.0, "{database}");
    let pool = &status["connection_pool"];
    assert!(pool["total_connections"].as_u64().unwrap() > 0, "{pool}");
    assert_eq!((&pool["active_connections"], &pool["utilization_percent"]), (&0.into(), &0.0.into()), "{pool}");
    assert_eq!(pool["max_connections"], status["connections"]["max"]);
}

#[tokio::test]
async fn r10_2_the_figures_of_the_cache_stand_under_their_names() {
    let cluster = cluster_with_redis(1).await;
    let shelf = shelf(cached_config(&cluster)).await;
    for _ in 0..4 {
        shelf.find(1).await.unwrap();
    }
    let status: Value = serde_json::from_str(&get(&shelf.db, "/metrics/json", "*/*").await.1).unwrap();
    let cache = &status["cache"];
    assert_eq!((&cache["hits"], &cache["misses"]), (&3.into(), &1.into()), "{cache}");
    assert_eq!((&cache["hit_rate_percent"], &cache["eviction_rate_percent"]), (&75.0.into(), &0.0.into()), "{cache}");
}

#[tokio::test]
async fn r10_1_metrics_come_in_both_text_formats() {
    let cluster = cluster_with_redis(1).await;
    let shelf = shelf(cached_config(&cluster)).await;
    shelf.find(1).await.unwrap();
    let (kind, modern) = get(&shelf.db, "/metrics", "application/openmetrics-text;version=1.0.0,*/*;q=0.1").await;
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    let modern = openmetrics::parse(&modern).unwrap();
    let (kind, classic) = get(&shelf.db, "/metrics", "text/plain").await;
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    assert!(!classic.contains("# EOF") && !classic.contains("# UNIT"));
    let declared: BTreeSet<&str> =
        classic.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(declared.len(), modern.families().len());
    for (name, kind) in modern.families() {
        let name = if kind == "counter" { format!("{name}_total") } else { name.clone() };
        assert!(declared.contains(name.as_str()), "{name} in {declared:?}");
    }
    promtool(&classic);
}

/// What Prometheus' own parser and linter say, where they are installed (`cargo xtask monitor` installs them).
fn promtool(text: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        println!("promtool is not here: not checked");
        return;
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

/// A method that runs whatever it is told.
struct Statements {
    db: Db,
}

#[repository]
impl Statements {
    #[read]
    async fn run(&self, conn: &mut Conn, sql: String) -> QueryResult<usize> {
        diesel::sql_query(sql).execute(conn).await
    }
}

/// The names and labels of all samples.
async fn series(db: &Db) -> BTreeSet<String> {
    let (_, text) = get(db, "/metrics", "*/*").await;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.rsplit_once(' ').map(|(series, _)| series.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r10_1_ten_thousand_users_and_statements_do_not_grow_the_label_set() {
    let cluster = cluster(1).await;
    let statements = &Statements { db: connect(config(&cluster)).await };
    let call = |n: u32| async move {
        let run = statements.run(format!("SELECT {n} AS \"column-{n}\""));
        Context::user(format!("user-{n}")).scope(run).await.unwrap();
    };
    // Where it may run, it has run.
    stream::iter(0..100).for_each_concurrent(8, call).await;
    let before = series(&statements.db).await;
    stream::iter(100..10_100).for_each_concurrent(8, call).await;
    let after = series(&statements.db).await;
    let new: Vec<_> =
        after.difference(&before).filter(|series| !series.contains("method=\"Statements::run\"")).collect();
    assert!(new.is_empty(), "{new:?}");
    assert!(!after.iter().any(|series| series.contains("user-") || series.contains("column-")));
    // Per node that took it, the method has 19 buckets, sum, count and two kinds of errors for its calls; for its statements 19 buckets, sum, count,
    // rows, errors and slow ones; and a few of its own.
    let of_method = after.iter().filter(|series| series.contains("method=\"Statements::run\"")).count();
    assert!(of_method <= 2 * (19 + 2 + 2) + 2 * (19 + 2 + 3) + 3, "{of_method}");
}
