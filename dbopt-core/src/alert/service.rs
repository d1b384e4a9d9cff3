//! Alerts at work: readings in, news to the log and to every channel.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::config::Config;
use super::deliver::Post;
use super::engine::Engine;
use super::notification::{Kind, Notification};
use super::readings::Readings;
use super::rule::{Rule, Severity};
use crate::background::Task;
use crate::observe::AlertCounts;

/// The alerts of an instance.
pub struct Alerting {
    config: Config,
    engine: Mutex<Engine>,
    posts: Vec<Arc<Post>>,
}

/// An alert that lasts.
#[derive(Debug, Clone, Serialize)]
pub struct AlertStatus {
    /// The rule.
    pub rule: Rule,
    /// What of it, such as the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Arc<str>>,
    /// How bad it is.
    pub severity: Severity,
    /// For how long it has been so.
    pub for_seconds: f64,
    /// The latest figure: seconds for times, 0 to 1 for shares, else a count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What is wrong, in words.
    pub summary: String,
}

impl Alerting {
    /// Alerts after these settings.
    ///
    /// # Errors
    /// What is wrong with a channel's settings.
    pub fn new(config: Config) -> Result<Arc<Self>, Vec<String>> {
        let posts = posts(&config)?;
        let engine = Mutex::new(Engine::new(config.clone(), instance(&config), Instant::now()));
        Ok(Arc::new(Alerting { config, engine, posts }))
    }

    /// Whether anything is watched.
    pub fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    /// How often readings are wanted.
    pub fn interval(&self) -> Duration {
        self.config.interval
    }

    /// The tasks that bring news out, one for each channel.
    pub fn tasks(&self) -> Vec<Task> {
        if !self.is_enabled() {
            return Vec::new();
        }
        self.posts.iter().map(|post| ("deliver alerts", Box::pin(post.clone().run()) as _)).collect()
    }

    /// Judges `readings`, tells the channels what is news, and returns it. Waits for nothing.
    pub fn observe(&self, readings: &Readings) -> Vec<Notification> {
        let news = self.engine.lock().evaluate(readings, Instant::now());
        self.tell(&news);
        news
    }

    fn tell(&self, news: &[Notification]) {
        for news in news {
            log(news);
            for post in &self.posts {
                post.tell(news.clone());
            }
        }
    }

    /// Ends the alerts about this instance, and waits until everything is told, until `deadline` at most.
    pub async fn shutdown(&self, deadline: Instant) {
        let news = self.engine.lock().leave(Instant::now());
        self.tell(&news);
        while self.posts.iter().any(|post| !post.is_empty()) && Instant::now() < deadline {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Every alert that lasts.
    pub fn active(&self) -> Vec<AlertStatus> {
        let engine = self.engine.lock();
        let all = engine.active().map(|((rule, subject), active)| AlertStatus {
            rule: *rule,
            subject: subject.clone(),
            severity: rule.severity(),
            for_seconds: active.since.elapsed().as_secs_f64(),
            value: active.value,
            summary: active.summary.clone(),
        });
        all.collect()
    }

    /// For the metrics: alerts by rule, and what became of messages by channel.
    pub fn counts(&self) -> AlertCounts {
        let mut firing: BTreeMap<&'static str, usize> =
            Rule::ALL.iter().filter(|rule| self.config.watches(**rule)).map(|rule| (rule.name(), 0)).collect();
        for ((rule, _), _) in self.engine.lock().active() {
            *firing.entry(rule.name()).or_default() += 1;
        }
        let sent = self.posts.iter().map(|post| {
            let counts = post.counts();
            let outcomes = [counts.delivered, counts.retried, counts.refused, counts.dropped, counts.summed_up];
            (post.name(), outcomes)
        });
        AlertCounts { firing: firing.into_iter().collect(), sent: sent.collect() }
    }
}

impl fmt::Debug for Alerting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerting").field("channels", &self.config.channels()).finish_non_exhaustive()
    }
}

/// The log is a channel that is always there.
fn log(news: &Notification) {
    let Notification { key, summary, severity, lasted, .. } = news;
    let value = news.value.unwrap_or_default();
    match (news.kind, severity) {
        (Kind::Firing, Severity::Info) => tracing::info!(alert = key, "{summary}"),
        (Kind::Firing, Severity::Warning) => tracing::warn!(alert = key, value, ?lasted, "alert: {summary}"),
        (Kind::Firing, _) => tracing::error!(alert = key, value, ?lasted, "alert: {summary}"),
        _ => tracing::info!(alert = key, value, ?lasted, "the alert is over: {summary}"),
    }
}

/// The name of this instance: the one configured, or the host's.
pub(super) fn instance(config: &Config) -> String {
    if !config.instance.is_empty() {
        return config.instance.clone();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    host.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".into())
}

#[cfg(feature = "alerts")]
fn posts(config: &Config) -> Result<Vec<Arc<Post>>, Vec<String>> {
    use super::deliver::Limits;
    let limits = Limits { per_hour: config.per_hour, waiting: config.queue, retry_for: config.retry_for, joins: false };
    let notifiers = super::channel::all(config)?;
    Ok(notifiers.into_iter().map(|notifier| Post::new(notifier, limits, config.timeout)).collect())
}

#[cfg(not(feature = "alerts"))]
fn posts(_: &Config) -> Result<Vec<Arc<Post>>, Vec<String>> {
    Ok(Vec::new())
}
