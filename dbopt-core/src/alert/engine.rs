//! The rules, their state and what they need to know of the past, together.

use std::sync::Arc;

use tokio::time::Instant;

use super::config::Config;
use super::notification::{Kind, Notification};
use super::readings::{Readings, Window};
use super::rule::Rule;
use super::rules::{Past, Succession, judge};
use super::state::{Active, Alerts, Change, Key};

/// Readings in, news out. Pure: it is told what time it is.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    instance: String,
    born: Instant,
    window: Window,
    alerts: Alerts,
    primary: Option<Arc<str>>,
    failovers: Vec<(Instant, Succession)>,
}

impl Engine {
    /// Begins at `now`.
    pub fn new(config: Config, instance: String, now: Instant) -> Self {
        Engine {
            window: Window::new(config.window),
            born: now,
            alerts: Alerts::default(),
            primary: None,
            failovers: Vec::new(),
            instance,
            config,
        }
    }

    /// What is news.
    pub fn evaluate(&mut self, readings: &Readings, now: Instant) -> Vec<Notification> {
        let traffic = self.window.push(now, readings.totals.clone());
        self.notice_failover(readings, now);
        let failovers = self.failovers.iter().map(|(_, succession)| succession.clone()).collect();
        let past = Past { age: now.saturating_duration_since(self.born), failovers };
        let conditions = judge(&self.config, readings, &traffic, &past);
        let changes = self.alerts.step(&conditions, |rule| self.config.timing(rule), now);
        changes.into_iter().map(|change| self.notification(change, now)).collect()
    }

    /// Another name than the last one known; that there was none in between does not matter.
    fn notice_failover(&mut self, readings: &Readings, now: Instant) {
        let shown = self.config.failover.shown;
        self.failovers.retain(|(at, _)| now.saturating_duration_since(*at) < shown);
        let Some(primary) = &readings.primary else { return };
        if let Some(before) = self.primary.replace(primary.clone()).filter(|before| before != primary) {
            let timeline = readings.timeline;
            let measured = readings.failover.clone().filter(|measured| measured.to == *primary);
            self.failovers.push((now, Succession { from: before, to: primary.clone(), timeline, measured }));
        }
    }

    /// Ends what this instance says of itself, as it goes.
    pub fn leave(&mut self, now: Instant) -> Vec<Notification> {
        let changes = self.alerts.end(Rule::is_of_instance, "the instance was shut down", now);
        changes.into_iter().map(|change| self.notification(change, now)).collect()
    }

    /// Every alert that lasts.
    pub fn active(&self) -> impl Iterator<Item = (&Key, &Active)> {
        self.alerts.active()
    }

    fn notification(&self, change: Change, now: Instant) -> Notification {
        let (rule, subject) = change.key;
        let mut key = format!("{}/{}", self.config.source, rule.name());
        if rule.is_of_instance() {
            key = format!("{key}/{}", self.instance);
        }
        if let Some(subject) = &subject {
            key = format!("{key}/{subject}");
        }
        Notification {
            key,
            rule: Some(rule),
            subject: subject.map(|subject| subject.to_string()),
            severity: rule.severity(),
            kind: if change.began { Kind::Firing } else { Kind::Resolved },
            summary: change.summary,
            value: change.value,
            lasted: change.lasted,
            source: self.config.source.clone(),
            instance: self.instance.clone(),
            at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{NodeCondition, NodeReading};
    use std::time::Duration;

    fn readings(primary: Option<&str>) -> Readings {
        let nodes = ["db1", "db2", "db3"].map(|name| NodeReading {
            name: name.into(),
            condition: NodeCondition::Fine,
            cause: None,
            lag: Some(0.0),
            unreached: Some(0.0),
            paused: false,
        });
        Readings {
            nodes: nodes.into(),
            primary: primary.map(Arc::from),
            timeline: Some(3),
            max: 50,
            ..Readings::default()
        }
    }

    fn told(engine: &mut Engine, readings: &Readings, now: Instant) -> Vec<String> {
        engine.evaluate(readings, now).iter().map(|n| format!("{} {}", n.kind.name(), n.key)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_failover_is_told_once_and_forgotten_in_time() {
        let now = Instant::now();
        let mut engine = Engine::new(Config::default(), "web-1".into(), now);
        let at = |s: u64| now + Duration::from_secs(s);
        assert!(told(&mut engine, &readings(Some("db1")), at(0)).is_empty());
        assert!(told(&mut engine, &readings(None), at(1)).is_empty());
        assert!(told(&mut engine, &readings(Some("db1")), at(2)).is_empty(), "it was only restarted");
        assert!(told(&mut engine, &readings(None), at(3)).is_empty());
        let key = "dbopt/failover/db2, timeline 3";
        assert_eq!(told(&mut engine, &readings(Some("db2")), at(4)), [format!("firing {key}")]);
        assert!(told(&mut engine, &readings(Some("db2")), at(5)).is_empty());
        assert_eq!(told(&mut engine, &readings(Some("db2")), at(605)), [format!("resolved {key}")]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_alert_of_an_instance_names_it_and_ends_with_it() {
        let now = Instant::now();
        let mut engine = Engine::new(Config::default(), "web-1".into(), now);
        let full = Readings { in_use: 50, ..readings(None) };
        let mut all = Vec::new();
        for second in 0..=30 {
            all.extend(told(&mut engine, &full, now + Duration::from_secs(second)));
        }
        assert_eq!(all, ["firing dbopt/primary", "firing dbopt/pool/web-1"]);
        let left: Vec<String> = engine.leave(now + Duration::from_secs(31)).into_iter().map(|n| n.key).collect();
        assert_eq!(left, ["dbopt/pool/web-1"], "the cluster's alerts stay");
    }
}
