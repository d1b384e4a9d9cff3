//! Slack's incoming webhooks.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::http::Target;
use crate::alert::config;
use crate::alert::deliver::{Failure, Notifier};
use crate::alert::notification::{Kind, Message};
use crate::alert::rule::Severity;

/// What fits in a block, and a little less.
const BLOCK: usize = 2900;

#[derive(Debug)]
pub(super) struct Slack(Target);

impl Slack {
    pub(super) fn new(config: &config::Slack) -> Result<Self, String> {
        let url = config.url.expose();
        // The path is the secret, and a receiver may repeat it without the host.
        let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        Target::new("alerts.slack.url", url, &[url, path]).map(Slack)
    }
}

impl Notifier for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn deliver<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move { self.0.post(&body(message, Instant::now()), &[]).await })
    }
}

/// `text` is what notifications and screen readers show, `blocks` what the channel shows.
pub(super) fn body(message: &Message, now: Instant) -> Value {
    let title = escape(&message.title());
    let lines: Vec<String> = message.lines(now).iter().map(|line| escape(line)).collect();
    json!({
        "text": title,
        "blocks": [
            { "type": "section", "text": { "type": "mrkdwn", "text": cut(&format!("{} *{title}*", sign(message))) } },
            { "type": "context", "elements": [{ "type": "mrkdwn", "text": cut(&lines.join("\n")) }] },
        ],
    })
}

fn sign(message: &Message) -> &'static str {
    let lasting = || message.news.iter().filter(|n| n.kind == Kind::Firing);
    match lasting().map(|n| n.severity).max() {
        Some(Severity::Critical | Severity::Error) => ":red_circle:",
        Some(Severity::Warning) => ":large_orange_circle:",
        Some(Severity::Info) => ":large_blue_circle:",
        None if message.news.iter().all(|n| n.kind == Kind::Test) => ":large_blue_circle:",
        None => ":large_green_circle:",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('*', "∗")
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(BLOCK) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
