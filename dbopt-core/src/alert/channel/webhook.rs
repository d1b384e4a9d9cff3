//! JSON to any address, signed if asked for.

use futures_util::future::BoxFuture;
use ring::hmac;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::http::Target;
use crate::alert::config;
use crate::alert::deliver::{Failure, Notifier};
use crate::alert::notification::Message;
use crate::secret::Secret;

#[derive(Debug)]
pub(super) struct Webhook {
    target: Target,
    secret: Secret,
}

impl Webhook {
    pub(super) fn new(config: &config::Webhook) -> Result<Self, String> {
        let (url, secret) = (config.url.expose(), config.secret.expose());
        let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        let target = Target::new("alerts.webhook.url", url, &[url, path, secret])?;
        Ok(Webhook { target, secret: config.secret.clone() })
    }
}

impl Notifier for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn deliver<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move {
            let body = body(message, Instant::now());
            let signature = (!self.secret.is_empty()).then(|| sign(self.secret.expose(), body.to_string().as_bytes()));
            let headers: Vec<_> = signature.into_iter().map(|signature| ("dbopt-signature", signature)).collect();
            self.target.post(&body, &headers).await
        })
    }
}

/// The same for all messages, whether they hold one piece of news or many.
pub(super) fn body(message: &Message, now: Instant) -> Value {
    let alerts: Vec<Value> = message
        .news
        .iter()
        .map(|news| {
            json!({
                "key": news.key,
                "status": news.kind.name(),
                "rule": news.rule.map(|rule| rule.name()),
                "subject": news.subject,
                "severity": news.severity.name(),
                "summary": news.summary,
                "value": news.value,
                "source": news.source,
                "instance": news.instance,
                "for_seconds": news.lasted.as_secs_f64(),
                "seconds_ago": now.saturating_duration_since(news.at).as_secs_f64(),
            })
        })
        .collect();
    json!({ "version": 1, "id": message.id, "title": message.title(), "alerts": alerts })
}

/// `sha256=` and the HMAC-SHA256 of the body in hex.
pub(super) fn sign(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}
