//! The dashboard, `/metrics`, `/metrics/json` and `/health` as an axum router.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::json;

use super::accept;
use crate::backend::Backend;
use crate::observe;
use crate::runtime::{Health, Runtime};

/// The routes of the admin interface. They only read what is in memory, so they answer also when every server is dead.
///
/// | route | what |
/// |---|---|
/// | `/` | the dashboard: a page for people, drawn from the two below |
/// | `/metrics` | all metrics in the OpenMetrics text format, or in the older one of Prometheus for whoever asks for `text/plain` |
/// | `/metrics/json` | the same and more as JSON: the [`Status`](crate::runtime::Status) |
/// | `/metrics/history` | the last quarter of an hour: the [`History`](crate::runtime::History); `?after=N` for samples after number N |
/// | `/health` | 200 while any call can be served, else 503; the state in words |
/// | `/health/live` | 200 as long as the process answers |
/// | `/health/ready` | 200 when reads and writes can be served, else 503 |
pub fn router<B: Backend>(runtime: Arc<Runtime<B>>) -> Router {
    super::dashboard::routes()
        .route("/metrics", get(metrics::<B>))
        .route("/metrics/json", get(status::<B>))
        .route("/health", get(health::<B>))
        .route("/health/live", get(|| async { Json(json!({ "status": "live" })) }))
        .route("/health/ready", get(ready::<B>))
        .with_state(runtime)
}

async fn metrics<B: Backend>(State(runtime): State<Arc<Runtime<B>>>, headers: HeaderMap) -> Response {
    let (content_type, classic) = match accept::wants_classic(&headers) {
        true => ("text/plain; version=0.0.4; charset=utf-8", true),
        false => ("application/openmetrics-text; version=1.0.0; charset=utf-8", false),
    };
    let text = move || if classic { observe::classic(&runtime.metrics()) } else { runtime.metrics() };
    match apart(text).await {
        Ok(text) => ([(header::CONTENT_TYPE, content_type), (header::VARY, "accept")], text).into_response(),
        Err(code) => code.into_response(),
    }
}

async fn status<B: Backend>(State(runtime): State<Arc<Runtime<B>>>) -> Response {
    apart(move || Json(runtime.status()).into_response()).await.into_response()
}

/// Gathers a long answer on a thread apart: milliseconds of work would keep calls waiting that share a worker with it.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StatusCode> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn health<B: Backend>(State(runtime): State<Arc<Runtime<B>>>) -> Response {
    let (health, topology) = (runtime.health(), runtime.cluster().topology());
    let code = match health {
        Health::Ok | Health::Degraded => StatusCode::OK,
        Health::Down => StatusCode::SERVICE_UNAVAILABLE,
    };
    let primary = topology.primary.map(|i| &topology.nodes[i].name);
    let nodes: Vec<_> = topology
        .nodes()
        .map(|n| json!({ "name": n.name, "role": n.role, "state": n.state, "cause": n.cause, "lag_seconds": n.lag.seconds() }))
        .collect();
    (code, Json(json!({ "status": health, "primary": primary, "nodes": nodes }))).into_response()
}

async fn ready<B: Backend>(State(runtime): State<Arc<Runtime<B>>>) -> Response {
    let writes = runtime.cluster().topology().primary.is_some();
    let reads = runtime.health() != Health::Down;
    let code = if reads && writes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (
        code,
        Json(
            json!({ "status": if reads && writes { "ready" } else { "not ready" }, "reads": reads, "writes": writes }),
        ),
    )
        .into_response()
}
