//! Calls as OpenTelemetry shows them, through `tracing`, with the feature `spans`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use dbopt_tests::{Shelf, cached_config, cluster_with_redis, shelf, until};
use diesel_async::RunQueryDsl;
use opentelemetry::trace::{SpanId, SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing::{Instrument as _, info_span};
use tracing_subscriber::layer::SubscriberExt as _;

/// Everything that is traced on this thread, until the guard is dropped.
fn traced() -> (InMemorySpanExporter, SdkTracerProvider, tracing::subscriber::DefaultGuard) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("application"));
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    (exporter, provider, guard)
}

/// The spans of dbopt's calls that have ended, and those of the test.
fn spans(exporter: &InMemorySpanExporter) -> Vec<SpanData> {
    let spans = exporter.get_finished_spans().unwrap();
    let known = |span: &SpanData| {
        let target = attribute(span, "target").or(attribute(span, "code.module.name")).unwrap_or_default();
        target.starts_with("dbopt::") || target.starts_with("r10_traces")
    };
    spans.into_iter().filter(known).filter(|span| span.name != "dbopt").collect()
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|pair| pair.key.as_str() == key).map(|pair| pair.value.to_string())
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    let found = spans.iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("{name} in {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>()))
}

fn children(spans: &[SpanData], of: SpanId) -> Vec<&str> {
    let mut children: Vec<&SpanData> = spans.iter().filter(|span| span.parent_span_id == of).collect();
    children.sort_by_key(|span| span.start_time);
    children.into_iter().map(|span| span.name.as_ref()).collect()
}

/// Whether the request's span has ended, and every other one with it.
async fn one_request<T>(exporter: &InMemorySpanExporter, work: impl Future<Output = T>) -> (T, Vec<SpanData>) {
    exporter.reset();
    let result = work.instrument(info_span!("request")).await;
    until("its spans have ended", Duration::from_secs(10), async || {
        spans(exporter).iter().any(|span| span.name == "request")
    })
    .await;
    (result, spans(exporter))
}

async fn of_find(exporter: &InMemorySpanExporter, shelf: &Shelf) -> Vec<SpanData> {
    let (found, spans) = one_request(exporter, shelf.find(7)).await;
    assert_eq!(found.unwrap().map(|item| item.value), Some(70));
    spans
}

#[tokio::test]
async fn a_miss_its_wait_and_its_statements_are_one_trace() {
    let cluster = cluster_with_redis(1).await;
    let shelf = shelf(cached_config(&cluster)).await;
    let (exporter, _provider, guard) = traced();

    let (_, spans) = one_request(&exporter, shelf.set(7, 70)).await;
    let call = named(&spans, "Shelf::set");
    // The last one asks where the log ends, and travels with the COMMIT.
    let parts = children(&spans, call.span_context.span_id());
    assert_eq!(parts, ["pool wait", "BEGIN", "INSERT", "COMMIT", "SELECT"]);
    assert_eq!(attribute(call, "dbopt.node").as_deref(), Some("primary"));

    let spans = of_find(&exporter, &shelf).await;
    let (request, call) = (named(&spans, "request"), named(&spans, "Shelf::find"));
    assert_eq!(call.parent_span_id, request.span_context.span_id());
    let mut parts = children(&spans, call.span_context.span_id());
    // A replica may be asked first whether it has replayed what was written.
    parts.dedup();
    assert_eq!(parts, ["cache look-up", "pool wait", "SELECT"]);
    let statements = spans.iter().filter(|span| span.name == "SELECT");
    let statement = statements.max_by_key(|span| span.start_time).unwrap();
    let of_call = ["db.system.name", "db.query.summary", "dbopt.intent", "dbopt.lane", "dbopt.cache"];
    let of_call = of_call.map(|key| attribute(call, key).unwrap_or_default());
    assert_eq!(of_call, ["postgresql", "Shelf::find", "read", "read", "miss"]);
    let node = attribute(call, "dbopt.node").unwrap();
    let server = cluster.node(&node).unwrap();
    let keys = [
        "db.system.name",
        "db.operation.name",
        "db.query.summary",
        "server.address",
        "server.port",
        "dbopt.node",
        "db.response.returned_rows",
    ];
    let told = keys.map(|key| attribute(statement, key).unwrap_or_default());
    let port = server.port().to_string();
    assert_eq!(told, ["postgresql", "SELECT", "Shelf::find", "127.0.0.1", &port, &node, "1"]);
    assert_eq!((&statement.span_kind, &call.span_kind), (&SpanKind::Client, &SpanKind::Internal));
    assert!(call.start_time <= statement.start_time && statement.end_time <= call.end_time);
    assert!(!format!("{spans:?}").contains("\"things\""), "no text of a statement is told");

    // What is in memory is no call.
    let spans = of_find(&exporter, &shelf).await;
    assert_eq!(spans.iter().map(|span| &*span.name).collect::<Vec<_>>(), ["request"]);

    let fails = shelf.db.transaction(async |conn| diesel::sql_query("SELECT 1 / 0").execute(conn).await);
    let (failed, spans) = one_request(&exporter, fails).await;
    failed.unwrap_err();
    let (call, statement) = (named(&spans, "Db::transaction"), named(&spans, "SELECT"));
    assert_eq!(attribute(statement, "db.response.status_code").as_deref(), Some("22012"));
    assert_eq!(attribute(call, "error.type").as_deref(), Some("application"));
    assert!([call, statement].iter().all(|span| matches!(span.status, Status::Error { .. })), "{call:?}");

    // Nobody listens: nothing is recorded.
    drop(guard);
    exporter.reset();
    shelf.set(8, 80).await.unwrap();
    shelf.find(8).await.unwrap();
    let left = exporter.get_finished_spans().unwrap();
    assert!(left.is_empty(), "{left:?}");
    shelf.db.shutdown().await;
}
