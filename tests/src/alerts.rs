//! Alerts that come soon, and what their receiver was told.

use std::time::Duration;

use dbopt_diesel::Config;
use serde_json::Value;

use crate::receivers::Sink;

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Settings under which everything happens in a tenth of its time, and the webhook `sink` is told.
pub fn quick(mut config: Config, sink: &Sink) -> Config {
    config.cluster.probe_interval = millis(100);
    (config.cluster.hold_down, config.cluster.hold_down_max) = (millis(200), millis(1000));
    let alerts = &mut config.alerts;
    (alerts.source, alerts.instance) = ("shop".into(), "web-1".into());
    (alerts.interval, alerts.window, alerts.warm_up, alerts.hold) =
        (millis(50), millis(1500), Duration::ZERO, millis(1500));
    (alerts.minimum_calls, alerts.per_hour, alerts.timeout) = (20, 1000, millis(500));
    for lasting in [&mut alerts.latency.lasting, &mut alerts.error_rate.lasting, &mut alerts.hit_rate.lasting] {
        *lasting = millis(500);
    }
    let states =
        [&mut alerts.node.lasting, &mut alerts.primary.lasting, &mut alerts.stray.lasting, &mut alerts.redis.lasting];
    for lasting in states.into_iter().chain([
        &mut alerts.pool.lasting,
        &mut alerts.lag.lasting,
        &mut alerts.unreached.lasting,
        &mut alerts.replicas.lasting,
        &mut alerts.journal.lasting,
    ]) {
        *lasting = millis(300);
    }
    alerts.webhook.url = sink.url("/alerts").as_str().into();
    config
}

/// What the webhook was told: `firing node replica-2`.
pub fn told(sink: &Sink) -> Vec<String> {
    let alerts = sink.taken().into_iter().flat_map(|request| request.json()["alerts"].as_array().unwrap().clone());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    alerts.map(|a| [&a["status"], &a["rule"], &a["subject"]].map(text).join(" ").trim_end().to_owned()).collect()
}

/// The same, of one rule.
pub fn told_of(sink: &Sink, rule: &str) -> Vec<String> {
    told(sink).into_iter().filter(|line| line.split(' ').nth(1) == Some(rule)).collect()
}
