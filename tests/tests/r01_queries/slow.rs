//! Slow statements are told with their plan, and without any value.

use std::time::Duration;

use dbopt_diesel::prelude::*;
use dbopt_tests::log::Log;
use dbopt_tests::until;

use super::repository::Flights;
use super::{cluster, flights, statement};

const PATIENCE: Duration = Duration::from_secs(20);
const VALUE: &str = "Sentinel1Value";

async fn told(flights: &Flights, count: usize) {
    until("the slow statement is told", PATIENCE, async || flights.db.status().insight.slow.len() >= count).await;
}

#[tokio::test]
async fn r01_2_a_statement_over_100_ms_is_logged_with_its_parts_and_its_plan() {
    let cluster = cluster(1).await;
    let flights = flights(&cluster, |_| ()).await;
    let (log, _guard) = Log::keep();
    flights.slow("A1", 0.0).await.unwrap();
    flights.slow("A1", 0.15).await.unwrap();
    told(&flights, 1).await;
    let slow = flights.db.status().insight.slow;
    let record = slow.iter().find(|record| record.total_ms >= 100.0).unwrap();
    assert_eq!((record.method, record.rows, record.end.as_str()), (Some("Flights::slow"), 1, "completed"));
    assert_eq!((&*record.node, record.lane), ("replica-1", "read"));
    assert!(record.first_row_ms.unwrap() <= record.total_ms && record.at.as_ref().unwrap().contains("repository.rs:"));
    assert_eq!(record.bind_types, ["float8", "text"]);
    let plan = record.plan.as_ref().unwrap_or_else(|| panic!("{record:#?}"));
    assert_eq!(plan.costly, "Seq Scan on flights", "{plan:#?}");
    assert_eq!(plan.costly_conditions, ["Filter: (airport = $2)"]);
    let line = &log.with("slow statement:")[0];
    for part in ["Flights::slow", "replica-1", "Seq Scan on flights", "total_ms="] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let text = flights.db.runtime().metrics();
    assert!(text.contains(r#"dbopt_slow_statements_total{method="Flights::slow",node="replica-1",lane="read"}"#));
}

#[tokio::test]
async fn r10_3_the_log_of_slow_statements_is_sampled_in_a_storm_and_counts_all() {
    let cluster = cluster(0).await;
    let flights = flights(&cluster, |config| {
        config.insight.slow = Duration::from_nanos(1);
        config.insight.slow_per_second = 1;
        config.insight.plans = false;
    })
    .await;
    for id in 0..100 {
        flights.seats(id % 3).await.unwrap();
    }
    told(&flights, 1).await;
    let insight = flights.db.status().insight;
    let suppressed: u64 = insight.slow.iter().map(|record| record.suppressed).sum::<u64>() + insight.slow_suppressed;
    assert!(insight.slow.len() < 60, "{}", insight.slow.len());
    assert_eq!(insight.slow.len() as u64 + suppressed, 100);
    assert_eq!(statement(&flights, "\"flight_id\" = $1").runs[0].slow, 100);
    assert_eq!(insight.slow[0].plan_absent.as_deref(), Some("insight.plans is false"));
}

/// On a connection of its own, on a replica, and nothing is run.
#[tokio::test]
async fn r01_1_each_new_statement_is_planned_once_and_never_run_for_it() {
    let cluster = cluster(1).await;
    let flights = flights(&cluster, |_| ()).await;
    flights.seats(1).await.unwrap();
    flights.remove(900).await.unwrap();
    flights.rename(901, "x").await.unwrap();
    let planned = async || {
        ["\"flight_id\" = $1", "DELETE FROM", "UPDATE"].iter().all(|part| statement(&flights, part).plan.is_some())
    };
    until("all have plans", PATIENCE, planned).await;
    let plan = |part: &str| statement(&flights, part).plan.unwrap();
    assert_eq!(plan("\"flight_id\" = $1").costly, "Seq Scan on seats");
    assert!(plan("DELETE FROM").lines[0].starts_with("Delete on seats"), "{:?}", plan("DELETE FROM").lines);
    assert!(plan("DELETE FROM").lines[1].contains("Index Scan using seats_pkey on seats"));
    let left = cluster.primary().query_text("SELECT count(*)::text FROM seats").await.unwrap().unwrap();
    assert_eq!(left, "999", "only the call itself removed a row");
    let asks = "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'dbopt insight'";
    let on = async |node: &dbopt_diesel::dev::Node| node.query_text(asks).await.unwrap().unwrap();
    assert_eq!((on(cluster.primary()).await, on(cluster.replica(1)).await), ("0".into(), "1".into()));
    let asked = flights.db.status().insight.plans;
    for id in 1..30 {
        flights.seats(id).await.unwrap();
    }
    assert_eq!(flights.db.status().insight.plans, asked, "it is known already");
    assert_eq!(asked[1], 0, "none was refused");
}

/// No value that was bound or written into a statement leaves the process.
#[tokio::test]
async fn r01_2_no_value_is_told_to_anybody() {
    let cluster = cluster(0).await;
    let flights = flights(&cluster, |config| config.insight.slow = Duration::from_nanos(1)).await;
    let (log, _guard) = Log::keep();
    let request = async {
        for n in 0..9 {
            let value = format!("{VALUE}{n}");
            flights.board(&value).await.unwrap();
            flights.slow(&value, 0.0).await.unwrap();
            flights.run(&format!("SELECT * FROM flights WHERE airport = '{value}' OR day = 47110815")).await.unwrap();
            flights
                .run(&format!("SELECT * FROM flights WHERE airport IN (E'{value}', $${value}$$) /* {value} */"))
                .await
                .unwrap();
            flights.add(fresh(n), &value).await.unwrap();
        }
        flights.add(fresh(1), VALUE).await.unwrap_err();
        flights.run(&format!("SELECT '{VALUE}")).await.unwrap_err();
    };
    Context::anonymous().scope(request).await;
    told(&flights, 5).await;
    let planned = async || statement(&flights, "OR day = ?").plan.is_some();
    until("the written one is planned", PATIENCE, planned).await;
    assert!(!log.with("N+1").is_empty() && !log.with("slow statement").is_empty());
    let status = flights.db.status();
    let json = serde_json::to_string(&status).unwrap();
    assert!(json.contains("day = ?"));
    for (whose, text) in [
        ("log", log.text()),
        ("JSON", json),
        ("metrics", flights.db.runtime().metrics()),
        ("Debug", format!("{status:?}")),
    ] {
        for secret in [VALUE, "47110815", "Sentinel2Comment"] {
            let at = text.find(secret);
            assert!(at.is_none(), "{secret} in the {whose}: {}", &text[at.unwrap_or(0).saturating_sub(300)..][..400]);
        }
    }
}

#[tokio::test]
async fn r01_2_values_are_told_to_those_who_ask_for_them() {
    let cluster = cluster(0).await;
    let flights = flights(&cluster, |config| {
        (config.insight.slow, config.insight.values) = (Duration::from_nanos(1), true);
    })
    .await;
    flights.slow("A1", 0.001).await.unwrap();
    told(&flights, 1).await;
    assert_eq!(flights.db.status().insight.slow[0].values.as_deref().unwrap(), ["0.001", "'A1'"]);
}

fn fresh(n: i64) -> i64 {
    5_000_000 + n
}
