//! The metrics of alerts.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge};

/// What is wrong, and what became of the messages about it, at the moment of the scrape.
#[derive(Debug, Clone, Default)]
pub struct AlertCounts {
    /// Alerts that last, by rule; every watched rule is there.
    pub firing: Vec<(&'static str, usize)>,
    /// By channel: delivered, retried, refused, dropped, summed up.
    pub sent: Vec<(&'static str, [u64; 5])>,
}

impl AlertCounts {
    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Alerts that last";
        let mut firing = encoder.encode_descriptor("dbopt_alerts_firing", help, None, MetricType::Gauge)?;
        for (rule, count) in &self.firing {
            ConstGauge::new(*count as f64).encode(firing.encode_family(&[("rule", *rule)])?)?;
        }
        let help = "Messages about alerts, by what became of them";
        let mut sent = encoder.encode_descriptor("dbopt_alert_notifications", help, None, MetricType::Counter)?;
        for (channel, counts) in &self.sent {
            let outcomes = ["delivered", "retried", "refused", "dropped", "summed_up"];
            for (outcome, count) in outcomes.into_iter().zip(counts) {
                let labels = [("channel", *channel), ("outcome", outcome)];
                ConstCounter::new(*count).encode(sent.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
