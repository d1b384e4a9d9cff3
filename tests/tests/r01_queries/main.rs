//! R1: what is known of every statement, on real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod repeated;
mod repository;
mod slow;
mod statistics;

use dbopt_diesel::Config;
use dbopt_diesel::core::query::StatementStatus;
use dbopt_diesel::dev::Cluster;
use dbopt_tests::{config, connect};
use repository::{Flights, SCHEMA};

async fn cluster(replicas: usize) -> Cluster {
    let cluster = dbopt_tests::cluster(replicas).await;
    cluster.primary().execute(SCHEMA).await.unwrap();
    cluster.wait_caught_up(std::time::Duration::from_secs(10)).await.unwrap();
    cluster
}

async fn flights(cluster: &Cluster, change: impl FnOnce(&mut Config)) -> Flights {
    let mut config = config(cluster);
    (config.pool.min, config.pool.max) = (3, 12);
    change(&mut config);
    Flights { db: connect(config).await }
}

/// What the status says of the statement whose text contains `part`.
fn statement(flights: &Flights, part: &str) -> StatementStatus {
    let all = flights.db.status().insight.statements;
    let found = all.iter().find(|statement| statement.sql.contains(part));
    found.unwrap_or_else(|| panic!("{part} in {all:#?}")).clone()
}
