//! R7 on real servers: limits per caller and over all, in one process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::routing::get;
use dbopt_diesel::ContextLayer;
use dbopt_diesel::core::error::LimitCause;
use dbopt_diesel::core::rate::Scope;
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use dbopt_diesel::{Error, ErrorKind};
use dbopt_tests::{Desk, cluster, config, connect, until};
use tokio::time::Instant;
use tower::ServiceExt;

/// A desk with these settings under `[limit]`.
async fn desk(cluster: &Cluster, change: impl FnOnce(&mut Config)) -> Desk {
    let mut config = config(cluster);
    change(&mut config);
    Desk::new(connect(config).await)
}

/// Who refused, which limit, and when to come back.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: Result<T, diesel::result::Error>) -> (Scope, String, Duration) {
    let error = result.expect_err("it is refused");
    let error = Error::of(&error).expect("by dbopt");
    assert!(error.is_retryable(), "{error}");
    match error.kind() {
        ErrorKind::RateLimited { scope, limit, retry_after, .. } => {
            assert_eq!(error.retry_after(), Some(*retry_after));
            (*scope, limit.to_string(), *retry_after)
        }
        other => panic!("{other}"),
    }
}

fn rates(text: &str) -> dbopt_diesel::core::rate::Rates {
    text.parse().unwrap()
}

#[tokio::test]
async fn r07_1_each_user_has_a_limit_of_a_hundred_calls_a_minute_over_all_methods() {
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |_| ()).await;
    let hundred = async {
        for i in 0..100 {
            if i % 2 == 0 { desk.read(i).await.map(drop).unwrap() } else { desk.write(i, i).await.map(drop).unwrap() }
        }
        refusal(desk.read(1).await)
    };
    let (scope, limit, retry_after) = Context::user("ann").scope(hundred).await;
    assert_eq!((scope, limit.as_str()), (Scope::User, "100/min"));
    // In buckets of three seconds.
    assert!(retry_after > Duration::from_secs(50) && retry_after <= Duration::from_secs(64), "{retry_after:?}");
    Context::user("bob").scope(desk.read(1)).await.unwrap();
    assert_eq!(desk.runs(), 101);
}

#[tokio::test]
async fn r07_1_callers_without_a_name_share_a_limit_unless_they_have_a_key() {
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |config| config.limit.per_user = rates("2/min")).await;
    desk.read(1).await.unwrap();
    Context::anonymous().scope(desk.read(1)).await.unwrap();
    refusal(desk.read(1).await);
    let from = |address: &str| Context::anonymous().key(address).scope(desk.read(1));
    for _ in 0..2 {
        from("ip:192.0.2.1").await.unwrap();
        from("ip:192.0.2.2").await.unwrap();
    }
    refusal(from("ip:192.0.2.1").await);
    refusal(Context::anonymous().scope(desk.read(1)).await);
}

#[tokio::test]
async fn r07_1_a_method_may_have_limits_of_its_own_keys_and_costs() {
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |_| ()).await;
    let own = async {
        for _ in 0..3 {
            desk.own(1).await.unwrap();
        }
        assert_eq!(refusal(desk.own(1).await).1, "3/s");
        desk.read(1).await.unwrap();
    };
    Context::user("ann").scope(own).await;
    // Two calls of five, whoever makes them.
    Context::user("ann").scope(desk.dear("acme")).await.unwrap();
    Context::user("bob").scope(desk.dear("acme")).await.unwrap();
    assert_eq!(refusal(Context::user("eve").scope(desk.dear("acme")).await).1, "10/min");
    desk.dear("other").await.unwrap();
}

#[tokio::test]
async fn r07_1_a_call_may_cost_the_time_it_takes() {
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |_| ()).await;
    let ann = async {
        desk.slow(0.05).await.unwrap();
        desk.slow(0.2).await.unwrap();
        refusal(desk.slow(0.0).await);
    };
    Context::user("ann").scope(ann).await;
    assert_eq!(desk.runs(), 2);
}

#[tokio::test]
async fn r07_1_users_may_have_other_limits_by_settings_or_by_the_application() {
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |config| {
        config.limit.per_user = rates("2/min");
        config.limit.users.insert("big".into(), rates("7/min"));
    })
    .await;
    let admitted = async |user: &str| {
        let calls = async {
            let mut admitted = 0;
            while admitted < 20 && desk.read(1).await.is_ok() {
                admitted += 1;
            }
            admitted
        };
        Context::user(user).scope(calls).await
    };
    assert_eq!((admitted("big").await, admitted("small").await), (7, 2));
    let asked =
        desk.db.runtime().set_user_limits(|user| async move { (user == "middle").then(|| "4/min".parse().unwrap()) });
    assert!(asked);
    assert_eq!((admitted("middle").await, admitted("other").await), (4, 2));
}

#[tokio::test]
async fn r07_2_all_calls_that_reach_the_database_have_a_limit_whatever_their_attributes() {
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |config| config.limit.database = rates("10/min")).await;
    for id in 0..5 {
        Context::user(format!("user {id}")).scope(desk.free(id)).await.unwrap();
        desk.db.transaction(async |conn| desk.write_in(conn, id, id).await).await.unwrap();
    }
    assert_eq!(refusal(desk.free(1).await).0, Scope::Database);
    let refused = desk.db.transaction(async |conn| desk.free_in(conn, 1).await).await;
    assert_eq!(refusal(refused).0, Scope::Database);
    assert_eq!(desk.runs(), 10);
}

#[tokio::test]
async fn r07_2_all_users_together_have_a_limit_and_a_cached_answer_does_not_count() {
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |config| config.limit.global = rates("4/min")).await;
    for id in 0..4 {
        Context::user(format!("user {id}")).scope(desk.read(id)).await.unwrap();
    }
    let (scope, limit, _) = refusal(Context::user("another").scope(desk.read(1)).await);
    assert_eq!((scope, limit.as_str()), (Scope::Global, "4/min"));
    // Two loads in all; a hit counts for its user only, and a refused miss for nobody.
    let ann = async {
        desk.cached(1).await.unwrap();
        desk.cached(2).await.unwrap();
        desk.cached(1).await.unwrap();
        assert_eq!(refusal(desk.cached(3).await).0, Scope::Global);
        desk.cached(1).await.unwrap();
        desk.cached(2).await.unwrap();
        assert_eq!(refusal(desk.cached(1).await).0, Scope::User);
    };
    Context::user("ann").scope(ann).await;
}

#[tokio::test]
async fn r07_3_a_refused_call_is_told_what_to_do_and_never_reaches_the_database() {
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |config| config.limit.per_user = rates("3/min")).await;
    let last_use = async || {
        let sql = "SELECT coalesce(max(state_change), now() - interval '1 day')::text FROM pg_stat_activity WHERE application_name = 'dbopt read'";
        cluster.primary().query_text(sql).await.unwrap().unwrap()
    };
    let ann = async {
        for _ in 0..3 {
            desk.read(1).await.unwrap();
        }
        let (used, acquired) = (last_use().await, desk.db.status().methods.iter().map(|m| m.count).sum::<u64>());
        for _ in 0..50 {
            let error = desk.read(1).await.unwrap_err().to_string();
            for part in ["Desk::read", "this caller's limit of 3/min is used up", "try again in "] {
                assert!(error.contains(part), "{part:?} in {error}");
            }
        }
        assert_eq!(last_use().await, used, "no session of the pool did anything");
        let status = desk.db.status();
        assert_eq!(status.methods.iter().map(|m| m.count).sum::<u64>(), acquired, "no connection was taken");
        assert_eq!(status.connections.in_use, 0);
        let checks = &status.limits.methods[..];
        let user = checks.iter().find(|m| m.method == "Desk::read" && m.scope == Scope::User).unwrap();
        assert_eq!((user.admitted, user.refused), (3, 50));
    };
    Context::user("ann").scope(ann).await;
    assert_eq!(desk.runs(), 3);
}

#[tokio::test]
async fn r07_3_a_refused_call_needs_no_database_at_all() {
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |config| config.limit.per_user = rates("1/min")).await;
    desk.read(1).await.unwrap();
    cluster.primary().kill().await.unwrap();
    let began = Instant::now();
    refusal(desk.read(1).await);
    assert!(began.elapsed() < Duration::from_millis(100));
}

#[tokio::test]
async fn r07_3_a_cost_above_the_limit_is_told_as_the_mistake_it_is() {
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |config| config.limit.global = rates("3/min")).await;
    let error = desk.dear("acme").await.unwrap_err();
    let error = Error::of(&error).unwrap();
    assert!(!error.is_retryable() && error.retry_after().is_none());
    assert!(error.to_string().contains("it costs 5, more than the limit of all callers together of 3/min"), "{error}");
    assert!(matches!(error.kind(), ErrorKind::RateLimited { cause: LimitCause::CostAboveLimit, .. }));
}

#[tokio::test]
async fn r07_4_windows_slide_and_refused_calls_consume_nothing() {
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |config| config.limit.per_user = rates("5/s")).await;
    let ann = async {
        let mut admitted = Vec::new();
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            if desk.read(1).await.is_ok() {
                admitted.push(Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        admitted
    };
    let admitted = Context::user("ann").scope(ann).await;
    for (i, at) in admitted.iter().enumerate() {
        let inside = admitted[..=i].iter().filter(|other| **other + Duration::from_secs(1) > *at).count();
        assert!(inside <= 5, "{inside} at {i}");
    }
    // A window is a twentieth longer, and the clock up to 20 ms behind; asking again and again costs nothing.
    assert!(admitted.len() >= 17, "{}", admitted.len());
}

#[tokio::test]
async fn r07_5_an_administrator_passes_is_counted_and_written_to_the_log() {
    let (log, _guard) = dbopt_tests::log::Log::keep();
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |config| {
        config.limit.per_user = rates("2/min");
        config.limit.global = rates("6/min");
    })
    .await;
    assert!(Context::user("root").admin(" ").is_err());
    let admin = Context::user("root").admin("nightly import").unwrap();
    for _ in 0..6 {
        admin.clone().scope(desk.read(1)).await.unwrap();
    }
    let audited = log.with("nightly import");
    assert_eq!(audited.len(), 6, "{audited:?}");
    assert!(audited[0].contains("Desk::read") && audited[0].contains("root"), "{audited:?}");
    // Everybody else sees that the limit of all is used up, and a name alone gives nothing.
    assert_eq!(refusal(Context::user("ann").scope(desk.read(1)).await).0, Scope::Global);
    assert_eq!(refusal(Context::user("admin").scope(desk.read(1)).await).0, Scope::Global);
    let status = desk.db.status().limits;
    let bypassed: u64 = status.methods.iter().filter(|m| m.scope == Scope::User).map(|m| m.bypassed).sum();
    assert_eq!(bypassed, 6);
}

#[tokio::test]
async fn what_runs_inside_a_limited_call_is_not_limited_again() {
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |config| config.limit.per_user = rates("2/min")).await;
    let ann = async {
        desk.write(1, 1).await.unwrap();
        let inside = desk.db.transaction(async |conn| {
            for id in 0..5 {
                desk.write_in(conn, id, id).await?;
            }
            Ok::<_, diesel::result::Error>(())
        });
        inside.await.unwrap();
        desk.read(1).await.unwrap();
        refusal(desk.read(1).await);
    };
    Context::user("ann").scope(ann).await;
    until("the connections are back", Duration::from_secs(2), async || desk.db.status().connections.in_use == 0).await;
}

/// An application that does not know of limits.
fn application(desk: &Desk) -> Router {
    let read = async |State(desk): State<Desk>, Path(id): Path<i64>| {
        desk.read(id).await.map(|value| format!("{value:?}")).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    };
    let free = async |State(desk): State<Desk>, Path(id): Path<i64>| format!("{:?}", desk.free(id).await.unwrap());
    Router::new()
        .route("/things/{id}", get(read))
        .route("/free/{id}", get(free))
        .layer(ContextLayer::new().user_header("x-user").key_header("x-forwarded-for"))
        .with_state(desk.clone())
}

#[tokio::test]
async fn r07_3_over_http_a_refusal_is_429_and_every_answer_tells_what_is_left() {
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |config| config.limit.per_user = rates("2/s, 3/min")).await;
    let router = application(&desk);
    let ask = async |path: &str, header: (&str, &str)| {
        let request = Request::get(path).header(header.0, header.1).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let text = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), text("ratelimit"), text("ratelimit-policy"), text("retry-after"))
    };
    let ann = ("x-user", "ann");
    let (status, limit, policy, retry) = ask("/things/1", ann).await;
    assert_eq!((status, retry), (200, None));
    let limit = limit.unwrap();
    assert!(limit.starts_with("\"user\";r=1;t=") && limit.contains("\"global\";r="), "{limit}");
    let policy = policy.unwrap();
    for part in ["\"user\";q=2;w=1", "\"user\";q=3;w=60", "\"global\";q=10000;w=60"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(ask("/things/1", ann).await.0, 200);
    let (status, limit, _, retry) = ask("/things/1", ann).await;
    assert_eq!((status, limit.unwrap().starts_with("\"user\";r=0;t=")), (429, true));
    assert!((1..=2).contains(&retry.unwrap().parse::<u64>().unwrap()));
    // Others are others, by name or by address; who asked for nothing limited is told nothing.
    assert_eq!(ask("/things/1", ("x-user", "bob")).await.0, 200);
    assert_eq!(ask("/things/1", ("x-forwarded-for", "10.0.0.9, 192.0.2.7")).await.0, 200);
    assert_eq!(ask("/free/1", ann).await, (200, None, None, None));
}

#[tokio::test]
async fn metrics_tell_of_checks_by_method_scope_and_outcome_and_of_no_user() {
    let cluster = cluster(0).await;
    let desk = desk(&cluster, |config| config.limit.per_user = rates("3/min")).await;
    let ann = async {
        for _ in 0..5 {
            let _ = desk.read(1).await;
        }
    };
    Context::user("ann-the-user").scope(ann).await;
    let text = desk.db.runtime().metrics();
    let metrics = dbopt_tests::openmetrics::parse(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    let checks = |scope: &str, outcome: &str| {
        metrics.sum("dbopt_limit_checks_total", &[("method", "Desk::read"), ("scope", scope), ("outcome", outcome)])
    };
    assert_eq!([checks("user", "admitted"), checks("user", "refused"), checks("global", "admitted")], [3.0, 2.0, 3.0]);
    assert_eq!(metrics.sum("dbopt_limit_callers", &[("limit", "user")]), 1.0);
    let json = serde_json::to_string(&desk.db.status()).unwrap();
    assert!(!text.contains("ann-the-user") && !json.contains("ann-the-user"));
    assert!(json.contains("\"limits\":{\"redis\":\"not configured\""), "{json}");
}
