//! The metrics of the rate limits.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge};

/// What the limits counted until the moment of the scrape. No user is named.
#[derive(Debug, Clone, Default)]
pub struct LimitCounts {
    /// Checks by method, scope and outcome.
    pub checks: Vec<(&'static str, &'static str, &'static str, u64)>,
    /// Callers told apart, by limit.
    pub callers: Vec<(String, usize)>,
    /// Permits fetched ahead, not used in time, and given back.
    pub permits: [u64; 3],
    /// Questions to Redis, the commands they went in, and those that were not answered in time.
    pub questions: [u64; 3],
    /// Whether Redis answers, where it is configured.
    pub redis_up: Option<bool>,
    /// Instances that share the limits.
    pub instances: usize,
}

impl LimitCounts {
    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut checks = encoder.encode_descriptor(
            "dbopt_limit_checks",
            "Checks of rate limits, by outcome; degraded were admitted without Redis, bypassed as an administrator asked",
            None,
            MetricType::Counter,
        )?;
        for (method, scope, outcome, count) in &self.checks {
            let labels = [("method", *method), ("scope", *scope), ("outcome", *outcome)];
            ConstCounter::new(*count).encode(checks.encode_family(&labels)?)?;
        }
        let mut callers = encoder.encode_descriptor(
            "dbopt_limit_callers",
            "Callers that are told apart in memory",
            None,
            MetricType::Gauge,
        )?;
        for (limit, count) in &self.callers {
            ConstGauge::new(*count as f64).encode(callers.encode_family(&[("limit", limit.as_str())])?)?;
        }
        let Some(up) = self.redis_up else { return Ok(()) };
        counters(
            encoder,
            ("dbopt_limit_permits", "Permits fetched ahead from Redis, by what became of them", "event"),
            ["fetched", "expired", "returned"].into_iter().zip(self.permits),
        )?;
        counters(
            encoder,
            (
                "dbopt_limit_questions",
                "Questions to Redis, the commands they went in, and those that were not answered in time",
                "kind",
            ),
            ["asked", "commands", "failed"].into_iter().zip(self.questions),
        )?;
        let gauges: [(&str, &str, f64); 2] = [
            (
                "dbopt_limit_redis_up",
                "Whether limits are counted in Redis; absent where it is not configured",
                f64::from(u8::from(up)),
            ),
            ("dbopt_limit_instances", "Instances that share the limits", self.instances as f64),
        ];
        for (name, help, value) in gauges {
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

/// Counters that differ in one label; the names are the family's, its description, and the label's.
fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, label): (&str, &str, &'static str),
    rows: impl Iterator<Item = (&'static str, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in rows {
        ConstCounter::new(count).encode(family.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}
