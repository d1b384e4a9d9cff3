//! Tries out the channels: one message to each, at once and once.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::channel;
use super::config::Config;
use super::notification::{Kind, Message, Notification};
use super::rule::Severity;
use super::service::instance;
use crate::random;

/// What a receiver made of a test.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The channel.
    pub channel: &'static str,
    /// What the receiver answered, or why it has not got the message; nothing secret.
    pub result: Result<String, String>,
    /// How long that took.
    pub took: Duration,
}

/// Sends a test alert to every configured channel that `only` names, to all when it names none.
///
/// # Errors
/// What is wrong with the settings, or with the names.
pub async fn send_test(config: &Config, only: &[String]) -> Result<Vec<Trial>, Vec<String>> {
    let problems = config.problems();
    if !problems.is_empty() {
        return Err(problems);
    }
    let configured = config.channels();
    let unknown: Vec<String> = only.iter().filter(|name| !configured.contains(&name.as_str())).map(missing).collect();
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let message = message(config);
    let mut trials = Vec::new();
    for notifier in channel::all(config)? {
        if !only.is_empty() && !only.iter().any(|name| name == notifier.name()) {
            continue;
        }
        let start = Instant::now();
        let result = match timeout(config.timeout, notifier.deliver(&message)).await {
            Ok(result) => result.map_err(|failure| failure.why),
            Err(_) => Err(format!("no answer within {}", humantime::format_duration(config.timeout))),
        };
        trials.push(Trial { channel: notifier.name(), result, took: start.elapsed() });
    }
    Ok(trials)
}

fn missing(name: &String) -> String {
    match name.as_str() {
        "email" => "email is not configured: write alerts.email.host, from and to".into(),
        "slack" => "slack is not configured: write alerts.slack.url".into(),
        "pagerduty" => "pagerduty is not configured: write alerts.pagerduty.routing_key".into(),
        "webhook" => "webhook is not configured: write alerts.webhook.url".into(),
        _ => format!("there is no channel `{name}`: write email, slack, pagerduty or webhook"),
    }
}

fn message(config: &Config) -> Message {
    let id = random::id();
    let news = Notification {
        key: format!("{}/test/{id}", config.source),
        rule: None,
        subject: None,
        severity: Severity::Info,
        kind: Kind::Test,
        summary: "dbopt can reach you here; nothing is wrong".into(),
        value: None,
        lasted: Duration::ZERO,
        source: config.source.clone(),
        instance: instance(config),
        at: Instant::now(),
    };
    Message { news: vec![news], id }
}
