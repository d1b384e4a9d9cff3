//! PagerDuty's Events API v2.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::http::Target;
use crate::alert::config;
use crate::alert::deliver::{Failure, Notifier};
use crate::alert::notification::{Kind, Message, Notification};
use crate::secret::Secret;

/// The longest texts that the API takes.
const SUMMARY: usize = 1024;
const KEY: usize = 255;

#[derive(Debug)]
pub(super) struct PagerDuty {
    target: Target,
    routing_key: Secret,
}

impl PagerDuty {
    pub(super) fn new(config: &config::PagerDuty) -> Result<Self, String> {
        let target = Target::new("alerts.pagerduty.url", &config.url, &[config.routing_key.expose()])?;
        Ok(PagerDuty { target, routing_key: config.routing_key.clone() })
    }
}

impl Notifier for PagerDuty {
    fn name(&self) -> &'static str {
        "pagerduty"
    }

    /// By the dedupe key: one incident per alert, whichever instances told of it.
    fn joins(&self) -> bool {
        true
    }

    fn deliver<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move {
            let mut answer = String::new();
            for news in &message.news {
                answer = self.send(news).await?;
            }
            Ok(answer)
        })
    }
}

impl PagerDuty {
    async fn send(&self, news: &Notification) -> Result<String, Failure> {
        let now = Instant::now();
        let answer = self.target.post(&event(&self.routing_key, news, now), &[]).await?;
        // A test opens an incident, and closes it.
        if news.kind == Kind::Test {
            let over = Notification { kind: Kind::Resolved, ..news.clone() };
            self.target.post(&event(&self.routing_key, &over, now), &[]).await?;
        }
        Ok(answer)
    }
}

pub(super) fn event(routing_key: &Secret, news: &Notification, now: Instant) -> Value {
    let mut event = json!({
        "routing_key": routing_key.expose(),
        "event_action": if news.kind == Kind::Resolved { "resolve" } else { "trigger" },
        "dedup_key": cut(&news.key, KEY),
    });
    if news.kind != Kind::Resolved {
        event["client"] = "dbopt".into();
        event["payload"] = json!({
            "summary": cut(&news.title(), SUMMARY),
            "source": news.subject.as_deref().unwrap_or(&news.instance),
            "severity": news.severity.name(),
            "component": news.source,
            "class": news.rule.map(|rule| rule.name()),
            "custom_details": {
                "noticed": news.details(now),
                "instance": news.instance,
                "value": news.value,
                "for_seconds": news.lasted.as_secs_f64(),
            },
        });
    }
    event
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
