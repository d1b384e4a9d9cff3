//! R10.4, R6.3, R2.5: people are told what is wrong once, and once when it is over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use dbopt_diesel::dev::Cluster;
use dbopt_diesel::{Config, Db, admin};
use dbopt_tests::alerts::{quick, told, told_of};
use dbopt_tests::receivers::{MailServer, Mood, Sink};
use dbopt_tests::{Things, cached_config, cluster, cluster_with_redis, config, connect, openmetrics, until};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

async fn is_told(sink: &Sink, rule: &str, wanted: &[&str]) {
    let what = format!("{wanted:?} is told");
    until(&what, PATIENCE, async || told_of(sink, rule).len() >= wanted.len()).await;
    assert_eq!(told_of(sink, rule), wanted);
}

fn active(db: &Db, rule: &str) -> Option<f64> {
    let alerts = db.status().alerts;
    alerts.iter().find(|alert| alert.rule.name() == rule).map(|alert| alert.for_seconds)
}

async fn lasts(db: &Db, rule: &str, seconds: f64) {
    until(&format!("{rule} lasts"), PATIENCE, async || active(db, rule).is_some_and(|s| s >= seconds)).await;
}

async fn is_over(db: &Db, rule: &str) {
    until(&format!("{rule} is over"), PATIENCE, async || active(db, rule).is_none()).await;
}

async fn get(db: &Db, path: &str) -> String {
    use tower::ServiceExt;
    let request = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
    let response = admin::router(db).oneshot(request).await.unwrap();
    String::from_utf8(axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

async fn state_becomes(db: &Db, node: &str, state: &str) {
    let is = || db.status().nodes.iter().any(|n| &*n.name == node && serde_json::to_value(n.state).unwrap() == state);
    until(&format!("{node} is {state}"), PATIENCE, async || is()).await;
}

fn all_channels(config: &mut Config, slack: &Sink, pagerduty: &Sink, mail: &MailServer) {
    let alerts = &mut config.alerts;
    alerts.slack.url = slack.url("/services/T0/B0/slackSentinel").as_str().into();
    alerts.pagerduty.url = pagerduty.url("/v2/enqueue");
    alerts.pagerduty.routing_key = "pagerSentinel".into();
    (alerts.email.host, alerts.email.port) = ("127.0.0.1".into(), mail.port());
    (alerts.email.user, alerts.email.password) = ("shop".into(), "mailSentinel".into());
    alerts.email.tls = dbopt_diesel::core::alert::config::Tls::None;
    alerts.email.from = "Shop <shop@example.com>".into();
    alerts.email.to = vec!["oncall@example.com".into(), "boss@example.com".into()];
    alerts.webhook.secret = "hookSentinel".into();
}

/// A node is killed and comes back: each channel tells both once, in the form its receiver publishes.
#[tokio::test]
async fn r10_4_a_dead_node_and_its_return_are_told_once_through_every_channel() {
    let [webhook, slack, pagerduty] = [Sink::start().await, Sink::start().await, Sink::start().await];
    let mail = MailServer::start().await;
    let cluster = cluster(3).await;
    let mut config = quick(config(&cluster), &webhook);
    all_channels(&mut config, &slack, &pagerduty, &mail);
    let db = connect(config).await;
    cluster.replica(2).kill().await.unwrap();
    // Forty evaluations find it bad, one tells.
    lasts(&db, "node", 2.0).await;
    let metrics = openmetrics::parse(&get(&db, "/metrics").await).unwrap();
    assert_eq!(metrics.sum("dbopt_alerts_firing", &[("rule", "node")]), 1.0);
    let status: Value = serde_json::from_str(&get(&db, "/metrics/json").await).unwrap();
    assert_eq!((&status["alerts"][0]["rule"], &status["alerts"][0]["subject"]), (&"node".into(), &"replica-2".into()));
    cluster.replica(2).start().await.unwrap();
    is_over(&db, "node").await;
    db.shutdown().await;

    assert_eq!(told(&webhook), ["firing node replica-2", "resolved node replica-2"]);
    check_webhook(&webhook);
    check_slack(&slack);
    check_pagerduty(&pagerduty);
    let mails = mail.mails();
    assert_eq!(mails.len(), 2, "{mails:?}");
    assert_eq!(mails[0].to, ["oncall@example.com", "boss@example.com"]);
    assert!(mails[0].text.contains("Subject: [shop] FIRING node: replica-2 does not answer"), "{}", mails[0].text);
    assert!(mails[1].text.contains("Subject: [shop] RESOLVED node: replica-2 answers"), "{}", mails[1].text);
    assert_eq!(mails[0].login, "AHNob3AAbWFpbFNlbnRpbmVs");
}

fn check_webhook(sink: &Sink) {
    for request in sink.taken() {
        let signature = request.headers["dbopt-signature"].to_str().unwrap();
        assert!(signature.len() == 71 && signature.starts_with("sha256="), "{signature}");
        let body = request.json();
        assert_eq!((&body["version"], &body["alerts"][0]["key"]), (&1.into(), &"shop/node/replica-2".into()));
    }
}

fn check_slack(sink: &Sink) {
    let bodies: Vec<Value> = sink.taken().iter().map(|request| request.json()).collect();
    assert_eq!(bodies.len(), 2);
    for body in &bodies {
        assert!(body["text"].as_str().is_some_and(|text| text.starts_with("[shop] ")), "{body}");
        for block in body["blocks"].as_array().unwrap() {
            let texts = match block["type"].as_str().unwrap() {
                "section" => vec![&block["text"]],
                "context" => block["elements"].as_array().unwrap().iter().collect(),
                other => panic!("{other}"),
            };
            assert!(texts.iter().all(|text| text["type"] == "mrkdwn" && !text["text"].as_str().unwrap().is_empty()));
        }
    }
    assert!(bodies[1]["text"].as_str().unwrap().contains("RESOLVED"));
}

fn check_pagerduty(sink: &Sink) {
    let events: Vec<Value> = sink.taken().iter().map(|request| request.json()).collect();
    let actions: Vec<&str> = events.iter().map(|event| event["event_action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["trigger", "resolve"]);
    assert!(events.iter().all(|e| e["routing_key"] == "pagerSentinel" && e["dedup_key"] == "shop/node/replica-2"));
    let payload = &events[0]["payload"];
    for needed in ["summary", "source", "severity"] {
        assert!(payload[needed].as_str().is_some_and(|text| !text.is_empty()), "{needed} in {payload}");
    }
    assert!(["critical", "error", "warning", "info"].contains(&payload["severity"].as_str().unwrap()));
}

/// Five deaths in a row are one alert.
#[tokio::test]
async fn r10_4_a_node_that_comes_and_goes_is_one_alert() {
    let sink = Sink::start().await;
    let cluster = cluster(3).await;
    let mut config = quick(config(&cluster), &sink);
    config.alerts.hold = Duration::from_secs(5);
    let db = connect(config).await;
    for _ in 0..5 {
        cluster.replica(1).kill().await.unwrap();
        state_becomes(&db, "replica-1", "unreachable").await;
        // The first time it is gone for long enough to be told; then it comes and goes faster than that.
        until("it is told", PATIENCE, async || !told_of(&sink, "node").is_empty()).await;
        cluster.replica(1).start().await.unwrap();
        state_becomes(&db, "replica-1", "healthy").await;
    }
    is_told(&sink, "node", &["firing node replica-1", "resolved node replica-1"]).await;
    db.shutdown().await;
    assert_eq!(told(&sink).len(), 2, "{:?}", told(&sink));
}

/// Replay stands still while the primary is written to.
#[tokio::test]
async fn r06_3_lag_over_the_limit_is_told_and_that_it_is_over_too() {
    let sink = Sink::start().await;
    let cluster = cluster(2).await;
    let mut config = quick(config(&cluster), &sink);
    (config.alerts.lag.fire, config.alerts.lag.resolve) = (millis(1000), millis(500));
    let things = Things { db: connect(config).await };
    cluster.replica(1).pause_replay().await.unwrap();
    let mut value = 0;
    until("the alert", PATIENCE, async || {
        value += 1;
        things.set(1, value).await.unwrap();
        !told_of(&sink, "lag").is_empty()
    })
    .await;
    assert!(things.db.status().alerts.iter().any(|alert| alert.value.is_some_and(|lag| lag > 1.0)));
    cluster.replica(1).resume_replay().await.unwrap();
    is_told(&sink, "lag", &["firing lag replica-1", "resolved lag replica-1"]).await;
    things.db.shutdown().await;
    assert_eq!(told(&sink).len(), 2, "{:?}", told(&sink));
}

/// The primary dies and a replica is promoted: people hear that there was none, and who it is now.
#[tokio::test]
async fn r02_5_a_failover_is_told() {
    let sink = Sink::start().await;
    let cluster = cluster(3).await;
    let mut config = quick(config(&cluster), &sink);
    config.alerts.failover.shown = Duration::from_secs(2);
    let db = connect(config).await;
    cluster.primary().kill().await.unwrap();
    is_told(&sink, "primary", &["firing primary"]).await;
    cluster.replica(1).query_text("SELECT pg_promote()::text").await.unwrap();
    is_told(&sink, "primary", &["firing primary", "resolved primary"]).await;
    let name = "failover replica-1, timeline 2";
    is_told(&sink, "failover", &[&format!("firing {name}"), &format!("resolved {name}")]).await;
    db.shutdown().await;
}

/// A replica is promoted while the primary lives: there are two, and one must not be used.
#[tokio::test]
async fn r10_4_a_second_primary_is_told() {
    let sink = Sink::start().await;
    let cluster = cluster(2).await;
    let db = connect(quick(config(&cluster), &sink)).await;
    cluster.replica(1).query_text("SELECT pg_promote()::text").await.unwrap();
    is_told(&sink, "stray", &["firing stray primary"]).await;
    is_told(&sink, "failover", &["firing failover replica-1, timeline 2"]).await;
    let alerts = db.status().alerts;
    assert!(alerts.iter().any(|a| a.rule.name() == "stray" && a.severity.name() == "critical"), "{alerts:?}");
    db.shutdown().await;
}

/// One server, and calls that are slow, fail and take all connections.
#[tokio::test]
async fn r10_4_slow_calls_failed_calls_and_a_full_pool_are_told() {
    let sink = Sink::start().await;
    let cluster = cluster(0).await;
    let mut config = quick(config(&cluster), &sink);
    (config.pool.min, config.pool.max) = (4, 20);
    (config.alerts.pool.fire, config.alerts.pool.resolve) = (0.3, 0.2);
    config.alerts.error_rate.application = true;
    let things = Things { db: connect(config).await };
    let db = &things.db;
    let run = async |calls: Vec<_>| drop(join_all(calls).await);
    until("slow calls and a full pool are told", PATIENCE, async || {
        run((0..12).map(|_| things.slow_primary_read(0.15)).collect()).await;
        ["latency", "pool"].iter().all(|rule| !told_of(&sink, rule).is_empty())
    })
    .await;
    is_told(&sink, "pool", &["firing pool", "resolved pool"]).await;
    is_told(&sink, "latency", &["firing latency", "resolved latency"]).await;
    assert!(told_of(&sink, "error_rate").is_empty(), "none failed: {:?}", told(&sink));
    let failing = async || {
        let outcome = db.transaction(async |_| Err::<(), _>(diesel::result::Error::NotFound)).await;
        outcome.unwrap_err();
    };
    until("failed calls are told", PATIENCE, async || {
        join_all((0..12).map(|_| failing())).await;
        !told_of(&sink, "error_rate").is_empty()
    })
    .await;
    is_told(&sink, "error_rate", &["firing error_rate", "resolved error_rate"]).await;
    assert_eq!(told_of(&sink, "latency").len() + told_of(&sink, "pool").len(), 4, "{:?}", told(&sink));
    db.shutdown().await;
}

/// A cache that answers little, a Redis that is gone, and what it has not heard of.
#[tokio::test]
async fn r10_4_a_low_hit_rate_and_a_dead_redis_are_told() {
    let sink = Sink::start().await;
    let cluster = cluster_with_redis(0).await;
    let shelf = dbopt_tests::shelf(quick(cached_config(&cluster), &sink)).await;
    let mut id = 1_000_000;
    until("a low hit rate is told", PATIENCE, async || {
        id += 1;
        shelf.find(id).await.unwrap();
        !told_of(&sink, "hit_rate").is_empty()
    })
    .await;
    until("a high one too", PATIENCE, async || {
        join_all((0..20).map(|_| shelf.find(id))).await;
        told_of(&sink, "hit_rate").len() == 2
    })
    .await;
    cluster.redis().unwrap().kill().await.unwrap();
    is_told(&sink, "redis", &["firing redis"]).await;
    shelf.set(id, 1).await.unwrap();
    is_told(&sink, "journal", &["firing journal"]).await;
    cluster.redis().unwrap().start().await.unwrap();
    is_told(&sink, "redis", &["firing redis", "resolved redis"]).await;
    is_told(&sink, "journal", &["firing journal", "resolved journal"]).await;
    assert_eq!(told_of(&sink, "hit_rate"), ["firing hit_rate", "resolved hit_rate"]);
    shelf.db.shutdown().await;
}

/// Receivers that refuse, hang and are not there delay neither calls nor other receivers, and get everything in the end.
#[tokio::test]
async fn r10_4_a_receiver_that_is_down_is_told_later_and_delays_nobody() {
    let (log, _guard) = dbopt_tests::log::Log::keep();
    let [webhook, slack, pagerduty] = [Sink::start().await, Sink::start().await, Sink::start().await];
    let mail = MailServer::start().await;
    let cluster = cluster(3).await;
    let mut config = quick(config(&cluster), &webhook);
    all_channels(&mut config, &slack, &pagerduty, &mail);
    let shown = format!("{config:?}{}", serde_json::to_string(&config).unwrap());
    let (port, hook) = (slack.port(), webhook.url("/alerts"));
    drop(slack);
    webhook.set(Mood::Refuses(503));
    pagerduty.set(Mood::Hangs);
    let things = Things { db: connect(config).await };
    cluster.replica(2).kill().await.unwrap();
    until("the mail is there", PATIENCE, async || mail.mails().len() == 1).await;
    let start = Instant::now();
    for _ in 0..20 {
        things.read_port().await.unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    cluster.replica(2).start().await.unwrap();
    until("the second mail is there", PATIENCE, async || mail.mails().len() == 2).await;
    until("both are asked again", PATIENCE, async || webhook.asked() >= 2 && pagerduty.asked() >= 2).await;
    assert!(webhook.taken().is_empty() && pagerduty.taken().is_empty());

    let slack = Sink::on(port).await;
    webhook.set(Mood::Takes);
    pagerduty.set(Mood::Takes);
    is_told(&webhook, "node", &["firing node replica-2", "resolved node replica-2"]).await;
    until("PagerDuty and Slack", PATIENCE, async || pagerduty.taken().len() == 2 && slack.taken().len() == 2).await;
    check_pagerduty(&pagerduty);
    check_slack(&slack);

    let said =
        [shown, log.text(), get(&things.db, "/metrics").await, get(&things.db, "/metrics/json").await].join("\n");
    for secret in ["slackSentinel", "pagerSentinel", "mailSentinel", "hookSentinel", &hook] {
        assert!(!said.contains(secret), "{secret} is shown");
    }
    assert!(log.with("an alert was not taken; it is sent again").len() >= 3, "{}", log.text());
    let metrics = openmetrics::parse(&get(&things.db, "/metrics").await).unwrap();
    let count = |channel, outcome| {
        metrics.sum("dbopt_alert_notifications_total", &[("channel", channel), ("outcome", outcome)])
    };
    assert_eq!(
        (count("email", "delivered"), count("webhook", "delivered"), count("email", "retried")),
        (2.0, 2.0, 0.0)
    );
    assert!(count("webhook", "retried") >= 1.0 && count("pagerduty", "retried") >= 1.0);
    things.db.shutdown().await;
}

/// A receiver that refuses for good loses this message and gets the next; what it says is logged without the secret it repeats.
#[tokio::test]
async fn r10_4_a_refused_message_is_logged_without_its_secrets_and_does_not_hold_up_the_next() {
    let (log, _guard) = dbopt_tests::log::Log::keep();
    let [webhook, slack, pagerduty] = [Sink::start().await, Sink::start().await, Sink::start().await];
    let mail = MailServer::start().await;
    let cluster = cluster(3).await;
    let mut config = quick(config(&cluster), &webhook);
    all_channels(&mut config, &slack, &pagerduty, &mail);
    let db = connect(config).await;
    for sink in [&webhook, &slack, &pagerduty] {
        sink.set(Mood::Refuses(400));
    }
    cluster.replica(2).kill().await.unwrap();
    until("all three refuse", PATIENCE, async || log.with("could not be delivered").len() == 3).await;
    for sink in [&webhook, &slack, &pagerduty] {
        sink.set(Mood::Takes);
    }
    cluster.replica(2).start().await.unwrap();
    is_told(&webhook, "node", &["resolved node replica-2"]).await;
    db.shutdown().await;
    assert_eq!((slack.taken().len(), pagerduty.taken().len()), (1, 1));
    for secret in ["slackSentinel", "pagerSentinel", "mailSentinel", "hookSentinel"] {
        assert!(!log.text().contains(secret), "{secret} is in {}", log.text());
    }
    assert!(log.with("could not be delivered")[0].contains("400"), "{}", log.text());
}

/// Alerts go out while nothing else works; that calls fail then is one of them.
#[tokio::test]
async fn r10_4_alerts_need_neither_database_nor_redis() {
    let sink = Sink::start().await;
    let cluster: Cluster = cluster_with_redis(1).await;
    let mut config = quick(cached_config(&cluster), &sink);
    // Calls that are told at once that nobody can serve them.
    (config.retry.attempts, config.failover.wait_limit) = (0, 0);
    let db = connect(config).await;
    cluster.redis().unwrap().kill().await.unwrap();
    for node in cluster.nodes() {
        node.kill().await.unwrap();
    }
    is_told(&sink, "primary", &["firing primary"]).await;
    is_told(&sink, "redis", &["firing redis"]).await;
    until("both nodes are told", PATIENCE, async || told_of(&sink, "node").len() == 2).await;
    is_told(&sink, "replicas", &["firing replicas"]).await;
    let things = Things { db: db.clone() };
    until("failed calls are told", PATIENCE, async || {
        let outcomes = join_all((0..5).map(|id| things.set(id, id))).await;
        assert!(outcomes.iter().all(Result::is_err));
        !told_of(&sink, "error_rate").is_empty()
    })
    .await;
    db.shutdown().await;
    assert_eq!(told_of(&sink, "error_rate"), ["firing error_rate", "resolved error_rate"], "the instance is gone");
}
