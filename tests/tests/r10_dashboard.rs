//! R10: the page that the admin router serves, and what it draws. What it looks like is looked at by `cargo xtask dashboard`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use dbopt_diesel::admin;
use dbopt_tests::{Things, becomes, cluster, config, connect, until};
use serde_json::Value;
use tower::ServiceExt;

async fn get(router: &Router, path: &str) -> (StatusCode, HeaderMap, String) {
    let response = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, headers, String::from_utf8(body.to_vec()).unwrap())
}

/// Everything that the page asks for, in the order in which it names it.
fn asked(page: &str) -> Vec<String> {
    let parts = page.split(['"', '\'']).filter(|part| part.starts_with("dashboard/"));
    parts.map(str::to_owned).collect()
}

#[tokio::test]
async fn r10_5_the_page_and_all_of_its_files_come_from_the_binary() {
    let cluster = cluster(1).await;
    let db = connect(config(&cluster)).await;
    let router = Router::new().nest("/operations/db", admin::router(&db)).merge(admin::router(&db));
    for (path, base) in [("/", "/"), ("/operations/db", "/operations/db/")] {
        let (status, headers, page) = get(&router, path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        assert!(
            headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'; script-src 'self'")
        );
        assert!(page.contains(&format!("<base href=\"{base}\">")), "{page}");
        assert!(!page.contains("://"), "it needs no internet");
        let files = asked(&page);
        assert_eq!(files.len(), 4, "{files:?}");
        for file in files {
            let (status, headers, text) = get(&router, &format!("{base}{file}")).await;
            assert_eq!((status, text.is_empty()), (StatusCode::OK, false), "{file}");
            assert_eq!(headers["x-content-type-options"], "nosniff");
            for module in text.split('"').filter(|part| file.ends_with("app.js") && part.starts_with("./")) {
                let path = format!("{base}dashboard/{}", &module[2..]);
                assert_eq!(get(&router, &path).await.0, StatusCode::OK, "{path}");
            }
        }
    }
    for path in ["/dashboard/no.js", "/dashboard/..%2Fmod.rs", "/dashboard/", "/dashboard/uplot/LICENSE"] {
        assert_eq!(get(&router, path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let strange = get(&router, "/metrics/history?after=soon").await;
    assert_eq!(strange.0, StatusCode::BAD_REQUEST, "{strange:?}");
    let post = Request::post("/").body(Body::empty()).unwrap();
    assert_eq!(
        router.clone().oneshot(post).await.unwrap().status(),
        StatusCode::METHOD_NOT_ALLOWED,
        "it changes nothing"
    );
}

/// What a path may hold ends up in the page, as text.
#[tokio::test]
async fn a_strange_path_is_no_markup() {
    let cluster = cluster(0).await;
    let db = connect(config(&cluster)).await;
    let router = Router::new().nest("/{tenant}", admin::router(&db));
    let (status, _, page) = get(&router, "/a&b\"c").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("<base href=\"/a&amp;b&quot;c/\">"), "{}", &page[..400]);
}

#[tokio::test]
async fn r10_5_the_last_quarter_of_an_hour_is_kept() {
    let cluster = cluster(2).await;
    let things = Things { db: connect(config(&cluster)).await };
    let router = admin::router(&things.db);
    let history = async |after: u64| {
        let (status, _, text) = get(&router, &format!("/metrics/history?after={after}")).await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_str::<Value>(&text).unwrap()
    };
    cluster.replica(2).kill().await.unwrap();
    becomes(&things.db, "replica-2", "unreachable", Duration::from_secs(20)).await;
    until("reads of a sample's time are in it", Duration::from_secs(30), async || {
        for _ in 0..20 {
            things.read_port().await.unwrap();
        }
        let all = history(0).await;
        let newest = all["samples"].as_array().unwrap().last().cloned().unwrap_or_default();
        newest["calls_per_second"][0].as_f64().is_some_and(|rate| rate > 1.0)
    })
    .await;
    let all = history(0).await;
    let newest = all["samples"].as_array().unwrap().last().unwrap().clone();
    let (p50, p99) = (newest["p50_ms"].as_f64().unwrap(), newest["p99_ms"].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99, "{newest}");
    let nodes = newest["nodes"].as_array().unwrap();
    let rates: Vec<_> =
        nodes.iter().map(|n| (n["name"].as_str().unwrap(), n["calls_per_second"].as_f64().unwrap() > 0.0)).collect();
    assert_eq!(rates, [("primary", false), ("replica-1", true), ("replica-2", false)], "{newest}");
    assert!(nodes[1]["lag_seconds"].is_number() && nodes[2]["lag_seconds"].is_null(), "{newest}");
    let next = all["newest"].as_u64().unwrap();
    assert_eq!(next, newest["number"].as_u64().unwrap());
    assert!(history(next).await["samples"].as_array().unwrap().len() <= 1, "only what is new");
}
