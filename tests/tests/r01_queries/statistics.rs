//! Every statement is counted, under its fingerprint.

use std::time::Duration;

use dbopt_diesel::prelude::*;
use dbopt_diesel::testing::{QueryLog, assert_max_queries};
use dbopt_tests::{openmetrics, until};
use futures_util::FutureExt;
use tokio::time::timeout;

use super::{cluster, flights, statement};

#[tokio::test]
async fn r01_4_every_statement_is_counted_by_method_node_and_lane() {
    let cluster = cluster(1).await;
    let flights = flights(&cluster, |_| ()).await;
    for flight in 1..=3 {
        assert_eq!(flights.seats(flight).await.unwrap().len(), 5);
    }
    flights.rename(7, "x").await.unwrap();
    flights.add(7, "a duplicate").await.unwrap_err();
    let seats = statement(&flights, r#"SELECT "seats"."label" FROM "seats" WHERE"#);
    assert_eq!((seats.runs.len(), seats.runs[0].count, seats.runs[0].rows), (1, 3, 15));
    let runs = &seats.runs[0];
    assert_eq!((runs.method, &*runs.node, runs.lane), (Some("Flights::seats"), "replica-1", "read"));
    assert!(runs.at.as_ref().unwrap().contains("repository.rs:"), "{:?}", runs.at);
    assert!(runs.mean_ms > 0.0 && runs.first_row_ms.unwrap() <= runs.mean_ms && runs.waited_ms > 0.0);
    assert_eq!(seats.bind_types, ["int8"]);
    let update = statement(&flights, "UPDATE \"seats\" SET");
    assert_eq!((&*update.runs[0].node, update.runs[0].lane, update.runs[0].count), ("primary", "write", 1));
    let insert = statement(&flights, "INSERT INTO \"seats\"");
    assert_eq!((insert.runs[0].errors, insert.runs[0].count), (1, 1));
    assert_eq!(statement(&flights, "COMMIT").runs[0].method, Some("Flights::rename"));
    let text = flights.db.runtime().metrics();
    assert!(!text.contains("FROM") && !text.contains("UPDATE"), "no text is a label");
    openmetrics::parse(&text).unwrap();
    let line = r#"dbopt_statement_duration_seconds_count{method="Flights::seats",node="replica-1",lane="read"} 3"#;
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn r01_4_values_are_no_part_of_a_fingerprint_however_they_are_written() {
    let cluster = cluster(0).await;
    let flights = flights(&cluster, |_| ()).await;
    for flight in 1..=4 {
        flights.written_in(flight).await.unwrap();
    }
    assert_eq!(statement(&flights, "flight_id = ?").runs[0].count, 4);
    flights.seats_of_all(&[1]).await.unwrap();
    flights.seats_of_all(&[1, 2, 3]).await.unwrap();
    assert_eq!(statement(&flights, "= ANY($1)").runs[0].count, 2);
}

#[tokio::test]
async fn r01_4_bad_input_is_survived_and_told() {
    let cluster = cluster(0).await;
    let flights = flights(&cluster, |config| config.insight.fingerprints = 100).await;
    for n in 0..600 {
        flights.script(&format!("SELECT 1 AS a{n}")).await.unwrap();
    }
    let insight = flights.db.status().insight;
    assert!(insight.fingerprints[0] <= 100, "{:?}", insight.fingerprints);
    let skipped = |why: &str| {
        let all = flights.db.status().insight.skipped;
        all.iter().find(|(name, _)| *name == why).unwrap().1
    };
    assert!(skipped("no_place") >= 500);
    let other = statement(&flights, "(other)");
    assert!(other.runs.iter().map(|runs| runs.count).sum::<u64>() >= 500);
    flights.script("SELECT 1; SELECT 2; SELECT 3").await.unwrap();
    assert!(flights.run("SELECT 'never ends").await.is_err());
    let long = format!("SELECT {} 1", "1, ".repeat(400));
    assert!(flights.run(&long).await.is_ok());
    let million = format!("SELECT length('{}')", "x".repeat(1 << 20));
    assert!(flights.run(&million).await.is_ok());
    let cancelled = timeout(Duration::from_millis(200), flights.slow("A1", 60.0)).await;
    assert!(cancelled.is_err());
    until("the cancellation is counted", Duration::from_secs(10), async || skipped("cancelled") == 1).await;
    assert!(skipped("unreadable") >= 1);
}

#[tokio::test]
async fn r01_4_nothing_is_watched_where_that_is_not_wanted() {
    let cluster = cluster(0).await;
    let flights = flights(&cluster, |config| config.insight.enabled = false).await;
    flights.seats(1).await.unwrap();
    assert!(flights.db.status().insight.statements.is_empty());
}

#[tokio::test]
async fn a_log_of_queries_sees_them_all_and_asserts() {
    let cluster = cluster(0).await;
    let flights = flights(&cluster, |_| ()).await;
    let (_, log) = QueryLog::of(async {
        flights.board("A1").await.unwrap();
        let writer = flights.clone();
        let task = dbopt_diesel::spawn(async move { writer.rename(1, "x").await });
        task.await.unwrap().unwrap();
        Context::user("ann").scope(flights.seats(1)).await.unwrap();
    })
    .await;
    let methods: Vec<_> = log.queries().iter().map(|query| query.method.unwrap()).collect();
    assert_eq!(methods, ["Flights::board", "Flights::rename", "Flights::seats"]);
    assert!(log.all().len() >= 5, "BEGIN and COMMIT, too");
    assert_max_queries(1, flights.board("A1")).await.unwrap();
    let two = assert_max_queries(1, async {
        flights.board("A1").await.unwrap();
        flights.board("A2").await.unwrap();
    });
    let panic = std::panic::AssertUnwindSafe(two).catch_unwind().await.unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("2 statements ran, and 1 should") && text.contains("statistics.rs:"), "{text}");
}
