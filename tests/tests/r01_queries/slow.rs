//! Slow statements are told with their plan, and without any value.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use dbopt_diesel::admin;
use dbopt_diesel::prelude::*;
use dbopt_tests::alerts::{quick, told as told_to};
use dbopt_tests::log::Log;
use dbopt_tests::receivers::Sink;
use dbopt_tests::until;
use tower::ServiceExt;

use super::repository::Flights;
use super::{cluster, flights, statement};

const PATIENCE: Duration = Duration::from_secs(20);
const VALUE: &str = "Sentinel1Value";

/// A table whose rows have one value with few exceptions, and no index.
const SKEWED: &str = "CREATE TABLE skewed (id bigint PRIMARY KEY, kind text NOT NULL, label text NOT NULL); \
    INSERT INTO skewed SELECT n, CASE WHEN n % 1000 < 20 THEN 'rare ' || n % 1000 ELSE 'usual' END, repeat('x', 60) \
    FROM generate_series(1, 50000) AS n; ANALYZE skewed";

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
    let (cluster, sink) = (cluster(0).await, Sink::start().await);
    cluster.primary().execute(SKEWED).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slow.json");
    let (log, _guard) = Log::keep();
    let flights = flights(&cluster, |config| {
        *config = quick(config.clone(), &sink);
        (config.insight.slow, config.insight.slow_per_second) = (Duration::from_nanos(1), 1000);
        config.insight.plans_per_minute = 6000;
        config.insight.slow_file = file.to_str().unwrap().into();
        config.alerts.minimum_calls = 1;
    })
    .await;
    let request = async {
        for n in 0..9 {
            let value = format!("{VALUE}{n}");
            flights.board(&value).await.unwrap();
            flights.slow(&value, 0.0).await.unwrap();
            flights.skewed(&value).await.unwrap();
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
    for _ in 0..12 {
        flights.skewed(VALUE).await.unwrap();
    }
    let of_values = async || flights.db.status().insight.slow.iter().any(|one| one.plan_for_values.is_some());
    until("one is planned with its values", PATIENCE, of_values).await;
    flights.db.runtime().advise_indexes().await.unwrap();
    let advised = flights.db.status().insight.indexes.report.unwrap();
    assert!(advised.missing.iter().any(|advice| advice.table == "public.skewed"), "{advised:#?}");
    let alerted = async || {
        flights.slow(VALUE, 0.15).await.unwrap();
        !told_to(&sink).is_empty()
    };
    until("calls that take long are told", PATIENCE, alerted).await;
    until("the file is written", PATIENCE, async || std::fs::read_to_string(&file).is_ok_and(|text| text.len() > 5000))
        .await;
    let router = admin::router(&flights.db);
    let page = async |path: &str| {
        let answer = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        String::from_utf8(to_bytes(answer.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
    };
    let asked = "SELECT string_agg(query, ' ') FROM pg_stat_activity WHERE application_name IN ('dbopt insight', 'dbopt advise')";
    let heard = [
        ("slow file", std::fs::read_to_string(&file).unwrap()),
        ("page's data", page("/metrics/json").await),
        ("page's history", page("/metrics/history").await),
        ("page", page("/").await),
        ("health", page("/health").await),
        ("scrape", page("/metrics").await),
        ("advice", format!("{advised:?}")),
        ("alerts", sink.taken().iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect()),
        ("planner's last text", format!("- {:?}", cluster.primary().query_text(asked).await.unwrap())),
    ];
    for (whose, text) in &heard {
        assert!(!text.is_empty(), "{whose}");
    }
    assert!(!log.with("N+1").is_empty() && !log.with("slow statement").is_empty());
    let status = flights.db.status();
    let json = serde_json::to_string(&status).unwrap();
    assert!(json.contains("day = ?"));
    for (whose, text) in [
        ("log", log.text()),
        ("JSON", json),
        ("metrics", flights.db.runtime().metrics()),
        ("Debug", format!("{status:?}")),
    ]
    .into_iter()
    .chain(heard)
    {
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

/// For any value an index is right, for the usual one it is not: the run itself is explained, too, and what it was bound to stays out of sight.
#[tokio::test]
async fn r01_2_a_slow_run_is_also_explained_with_the_values_that_it_had() {
    let cluster = cluster(1).await;
    cluster.primary().execute(SKEWED).await.unwrap();
    cluster.primary().execute("CREATE INDEX ON skewed (kind)").await.unwrap();
    cluster.wait_caught_up(Duration::from_secs(10)).await.unwrap();
    let flights = flights(&cluster, |config| config.insight.slow = Duration::from_nanos(1)).await;
    let (log, _guard) = Log::keep();
    flights.skewed("usual").await.unwrap();
    let of_skewed = || flights.db.status().insight.slow.into_iter().find(|one| one.method == Some("Flights::skewed"));
    until("it is told", PATIENCE, async || of_skewed().is_some()).await;
    let record = of_skewed().unwrap();
    let (any, own) = (record.plan.as_ref().unwrap(), record.plan_for_values.as_ref().unwrap());
    assert!(any.lines.iter().any(|line| line.contains("Index")), "{any:#?}");
    assert_eq!(
        (own.costly.as_str(), own.costly_conditions.as_slice()),
        ("Seq Scan on skewed", &["Filter: (kind = ?::text)".to_owned()][..])
    );
    assert_ne!(any.hash, own.hash);
    let line = log.with("slow statement:").into_iter().find(|line| line.contains("FROM skewed")).unwrap();
    assert!(line.contains("values_plan=") && line.contains("Seq Scan on skewed") && !line.contains("usual"), "{line}");
    // Once a minute for each statement, and never where a value stands in the text, as servers keep the texts they explain.
    flights.skewed("rare 7").await.unwrap();
    flights.written_in(7).await.unwrap();
    told(&flights, 3).await;
    let others = flights.db.status().insight.slow.iter().filter(|one| one.plan_for_values.is_some()).count();
    assert_eq!(others, 1);
    assert_eq!(flights.db.status().insight.plans[1], 0, "none was refused");
}

/// Which way a statement goes may change with an index and with the statistics: both are noticed, on a replica as well.
#[tokio::test]
async fn r01_1_plans_are_asked_for_again_when_schema_or_statistics_change() {
    let cluster = cluster(1).await;
    let flights = flights(&cluster, |config| config.insight.plan_watch = Duration::from_secs(1)).await;
    let plan = async |part: &str| {
        let seen = flights.seats(1).await;
        assert!(seen.is_ok());
        statement(&flights, "\"flight_id\" = $1")
            .plan
            .is_some_and(|plan| plan.lines.iter().any(|line| line.contains(part)))
    };
    until("it is planned", PATIENCE, async || plan("Seq Scan on seats").await).await;
    let settled = flights.db.status().insight.plans[0];
    tokio::time::sleep(Duration::from_millis(3500)).await;
    assert_eq!(flights.db.status().insight.plans[0], settled, "nothing has changed");
    cluster.primary().execute("CREATE INDEX of_flight ON seats (flight_id)").await.unwrap();
    until("the index is noticed", PATIENCE, async || {
        plan("using of_flight").await || plan("of_flight").await || plan("Bitmap").await
    })
    .await;
    cluster.primary().execute("DELETE FROM seats WHERE id > 3").await.unwrap();
    cluster.primary().execute("VACUUM ANALYZE seats").await.unwrap();
    until("the statistics are noticed", PATIENCE, async || plan("Seq Scan on seats").await).await;
    assert!(statement(&flights, "\"flight_id\" = $1").plan.unwrap().changes >= 2);
}

/// A file of its own, besides the log: bounded, of whole lines, and not in the way of any call when it cannot be written.
#[tokio::test]
async fn r10_3_slow_statements_go_to_a_file_that_rotates() {
    let cluster = cluster(0).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slow.json");
    let flights = flights(&cluster, |config| {
        (config.insight.slow, config.insight.slow_per_second) = (Duration::from_nanos(1), 1000);
        (config.insight.slow_file_bytes, config.insight.slow_files_kept) = (65536, 2);
        config.insight.plans = false;
        config.insight.slow_file = file.to_str().unwrap().into();
    })
    .await;
    for n in 0..400 {
        flights.seats_joined(n).await.unwrap();
        tokio::task::yield_now().await;
    }
    let known = async || flights.db.status().insight.slow_file.is_some_and(|file| file.written >= 300);
    until("they are written", PATIENCE, known).await;
    let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["slow.json", "slow.json.1", "slow.json.2"]);
    for name in names {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text.len() <= 65536 && text.ends_with('\n'), "{}", text.len());
        for line in text.lines() {
            let told: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(told["method"], "Flights::seats_joined", "{told}");
            assert!(told["time"].as_str().unwrap().ends_with('Z') && told["total_ms"].is_number(), "{told}");
        }
    }
}

#[tokio::test]
async fn r10_3_a_file_that_cannot_be_written_is_told_once_and_hurts_no_call() {
    let cluster = cluster(0).await;
    let folder = tempfile::tempdir().unwrap();
    let (log, _guard) = Log::keep();
    let flights = flights(&cluster, |config| {
        (config.insight.slow, config.insight.slow_per_second) = (Duration::from_nanos(1), 1000);
        config.insight.plans = false;
        config.insight.slow_file = folder.path().join("missing/slow.json").to_str().unwrap().into();
    })
    .await;
    for _ in 0..100 {
        flights.seats(1).await.unwrap();
    }
    let failure = async || flights.db.status().insight.slow_file.is_some_and(|file| file.failure.is_some());
    until("the failure is known", PATIENCE, failure).await;
    std::fs::create_dir(folder.path().join("missing")).unwrap();
    let goes_on =
        async || flights.db.status().insight.slow_file.is_some_and(|file| file.written >= 80 && file.failure.is_none());
    until("it goes on", PATIENCE, goes_on).await;
    assert_eq!(log.with("cannot be written").len(), 1, "{}", log.text());
    assert_eq!(log.with("are written to").len(), 1);
}

fn fresh(n: i64) -> i64 {
    5_000_000 + n
}
