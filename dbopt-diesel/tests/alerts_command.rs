//! `dbopt alerts` with receivers that take a message, refuse it and are not there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Output, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::process::Command;

async fn dbopt(variables: &[(&str, &str)], arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbopt"));
    let own = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("DBOPT_"));
    own.for_each(|name| {
        command.env_remove(name);
    });
    command.envs(variables.iter().copied()).stdin(Stdio::null()).current_dir("/");
    let Output { status, stdout, stderr } = command.arg("alerts").args(arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.success(), text(stdout), text(stderr))
}

/// A server whose `/slack` takes, whose `/refuses` refuses, and which has one alert.
async fn server() -> (String, Arc<Mutex<Vec<String>>>) {
    let got: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = got.clone();
    let take = move |body: String| async move {
        sink.lock().push(body);
        "ok"
    };
    let alert =
        r#"{"alerts":[{"rule":"lag","subject":"db2","severity":"warning","for_seconds":7.2,"summary":"db2 is late"}]}"#;
    let router = Router::new()
        .route("/slack", post(take))
        .route("/refuses", post(|| async { (axum::http::StatusCode::NOT_FOUND, "no such hook") }))
        .route("/wrong", get(|| async move { alert }))
        .route("/well", get(|| async { r#"{"alerts":[]}"# }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, got)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_receivers_answer_is_told() {
    let (url, got) = server().await;
    let (slack, webhook) = (format!("{url}/slack"), format!("{url}/refuses"));
    let both = [("DBOPT_ALERTS_SLACK_URL", slack.as_str()), ("DBOPT_ALERTS_WEBHOOK_URL", &webhook)];
    let (ok, out, _) = dbopt(&both, &["test", "--channel", "slack"]).await;
    assert!(
        ok && out.starts_with("slack      taken ") && out.contains("200 OK ok") && out.lines().count() == 1,
        "{out}"
    );
    assert!(got.lock()[0].contains("nothing is wrong"));
    let (ok, out, _) = dbopt(&both, &["test"]).await;
    assert!(!ok && out.contains("webhook    FAILED") && out.contains("404 Not Found no such hook"), "{out}");
    assert!(!out.contains(&url) && out.contains("slack      taken"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_says_what_to_write() {
    let (ok, _, error) = dbopt(&[], &["test"]).await;
    assert!(!ok && error.contains("no channel is configured"), "{error}");
    let (ok, _, error) = dbopt(&[], &["test", "--channel", "sms"]).await;
    assert!(!ok && error.contains("no channel `sms`: write email, slack, pagerduty or webhook"), "{error}");
    let (ok, _, error) = dbopt(&[("DBOPT_ALERTS_SLACK_URL", "hooks.slack.com/T0")], &["test"]).await;
    assert!(!ok && error.contains("alerts.slack.url is no address") && !error.contains("T0"), "{error}");
    let mail = [
        ("DBOPT_ALERTS_EMAIL_HOST", "127.0.0.1"),
        ("DBOPT_ALERTS_EMAIL_PORT", "1"),
        ("DBOPT_ALERTS_EMAIL_FROM", "a@example.com"),
        ("DBOPT_ALERTS_EMAIL_TO", "b@example.com"),
    ];
    let (ok, out, _) = dbopt(&mail, &["test"]).await;
    assert!(!ok && out.contains("email      FAILED") && out.to_lowercase().contains("refused"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alerts_of_a_running_application_are_listed() {
    let (url, _) = server().await;
    let (ok, out, _) = dbopt(&[], &["list", &format!("{url}/wrong")]).await;
    assert!(ok && out.contains("db2 is late") && out.contains("7 s"), "{out}");
    let (ok, out, _) = dbopt(&[], &["list", &format!("{url}/well")]).await;
    assert!(ok && out.contains("nothing is wrong"), "{out}");
}
