//! Settings and helpers for tests in which something breaks.

use std::time::Duration;

use dbopt_diesel::core::runtime::OpenCircuit;
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::{Config, Db};

use axum::body::{Body, to_bytes};
use axum::http::Request;
use tower::ServiceExt;

use crate::named;
use crate::openmetrics::{Metrics, parse};

/// A role whose logins a test can forbid while everybody else, and the monitor's session, go on.
pub const APP: &str = "app";

/// Makes [`APP`] on `cluster`.
pub async fn make_app(cluster: &Cluster) {
    let sql = "CREATE ROLE app LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT pg_monitor TO app";
    cluster.primary().execute(sql).await.expect("the role is made");
}

/// Settings for all nodes with [`APP`] as the user, circuits that open for a second, and nobody who waits.
pub fn app_config(cluster: &Cluster) -> Config {
    let nodes = cluster.nodes().iter().map(|node| (node.name(), node.url().replace("postgres@", "app@")));
    brisk(named(nodes))
}

/// The same settings with short times.
pub fn brisk(mut config: Config) -> Config {
    (config.pool.min, config.pool.max) = (3, 9);
    (config.pool.backoff_initial, config.pool.backoff_max) = (Duration::from_millis(20), Duration::from_millis(40));
    (config.breaker.open, config.breaker.open_max) = (Duration::from_secs(1), Duration::from_secs(4));
    (config.retry.attempts, config.failover.wait_limit) = (0, 0);
    config
}

/// Sessions that fill a server up.
pub async fn fill(cluster: &Cluster) -> Vec<tokio_postgres::Client> {
    let mut sessions = Vec::new();
    while let Ok((client, connection)) = tokio_postgres::connect(&cluster.primary().url(), tokio_postgres::NoTls).await
    {
        tokio::spawn(connection);
        sessions.push(client);
    }
    sessions
}

/// Ends the sessions of a lane: `"dbopt write"` for instance.
pub async fn end_sessions(cluster: &Cluster, application: &str) {
    let sql = format!(
        "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE application_name = '{application}'"
    );
    cluster.primary().query_text(&sql).await.expect("they are ended");
}

/// The circuit of a lane, if it is not closed.
pub fn open_circuit(db: &Db, node: &str, lane: &str) -> Option<OpenCircuit> {
    db.status().open_circuits.into_iter().find(|circuit| &*circuit.node == node && circuit.lane == lane)
}

/// What a scraper gets.
pub async fn metrics(db: &Db) -> Metrics {
    let request = Request::get("/metrics").body(Body::empty()).expect("a request");
    let response = dbopt_diesel::admin::router(db).oneshot(request).await.expect("an answer");
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("its body");
    parse(std::str::from_utf8(&body).expect("text")).expect("OpenMetrics")
}
