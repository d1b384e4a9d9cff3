//! The dashboard: a page that shows what `/metrics/json` and `/metrics/history` say. It comes from the binary, needs no internet, and changes
//! nothing.

use std::sync::Arc;

use axum::Router;
use axum::extract::{OriginalUri, Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::backend::Backend;
use crate::runtime::Runtime;

const PAGE: &str = include_str!("index.html");
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page consists of. uPlot is vendored: `cargo xtask vendor` fetches it, and checks that it is what its publisher publishes.
const FILES: [(&str, &str, &str); 11] = [
    ("style.css", CSS, include_str!("style.css")),
    ("app.js", SCRIPT, include_str!("app.js")),
    ("dom.js", SCRIPT, include_str!("dom.js")),
    ("verdict.js", SCRIPT, include_str!("verdict.js")),
    ("map.js", SCRIPT, include_str!("map.js")),
    ("charts.js", SCRIPT, include_str!("charts.js")),
    ("queries.js", SCRIPT, include_str!("queries.js")),
    ("indexes.js", SCRIPT, include_str!("indexes.js")),
    ("tables.js", SCRIPT, include_str!("tables.js")),
    ("uplot.js", SCRIPT, include_str!("uplot/uplot.js")),
    ("uplot.css", CSS, include_str!("uplot/uplot.css")),
];

/// Scripts, styles and data from here only; nobody may put the page into one of his.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'self'; \
                      form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes<B: Backend>() -> Router<Arc<Runtime<B>>> {
    Router::new()
        .route("/", get(page))
        .route("/dashboard/{file}", get(file))
        .route("/metrics/history", get(history::<B>))
}

/// With the path under which it is served as its base, as the router may be nested anywhere.
async fn page(OriginalUri(uri): OriginalUri) -> Response {
    let path = uri.path().trim_end_matches('/');
    let escaped = path.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    answer(HTML, PAGE.replacen("{{base}}", &format!("{escaped}/"), 1))
}

async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, content)) => answer(kind, *content),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn answer(kind: &'static str, content: impl IntoResponse) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // A new version of the application has a new page.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn history<B: Backend>(State(runtime): State<Arc<Runtime<B>>>, Query(After { after }): Query<After>) -> Response {
    Json(runtime.history(after)).into_response()
}
