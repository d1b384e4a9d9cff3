//! The metrics in the OpenMetrics text format; every metric is declared here.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge};
use prometheus_client::registry::{Registry, Unit};

use super::alerts::AlertCounts;
use super::cache::CacheCounts;
use super::calls::{CallCounts, Calls};
use super::limits::LimitCounts;
use super::nodes::{self, NodeGauges};
use super::resilience::{self, CircuitCounts, HedgeCounts, RetryCounts};
use super::statements::{self, StatementCounts};
use super::takeovers::{self, TakeoverCounts, WaitCounts};
use super::text::{Text, labels};

/// Everything that is measured at the moment of the scrape.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// How long this instance has been running.
    pub uptime: Duration,
    /// The names of all states that a node may be in.
    pub states: Vec<&'static str>,
    /// The replicas that serve, and how many there should be.
    pub replicas: [usize; 2],
    /// One per node.
    pub nodes: Vec<NodeGauges>,
    /// One per node and lane.
    pub pools: Vec<PoolGauges>,
    /// One per node and lane.
    pub circuits: Vec<CircuitCounts>,
    /// Reads that the primary did not serve in place of replicas.
    pub reads_shed: u64,
    /// Reads that were asked twice.
    pub hedges: HedgeCounts,
    /// What was repeated.
    pub retries: RetryCounts,
    /// Who waited for a primary.
    pub waits: WaitCounts,
    /// The failovers.
    pub takeovers: TakeoverCounts,
    /// The cache's counters, where there is a cache.
    pub cache: Option<CacheCounts>,
    /// The rate limits' counters, where anything is limited.
    pub limits: Option<LimitCounts>,
    /// Statements, where they are watched.
    pub statements: Option<StatementCounts>,
    /// Alerts, where they are watched.
    pub alerts: Option<AlertCounts>,
}

/// A pool at the moment of the scrape.
#[derive(Debug, Clone)]
pub struct PoolGauges {
    /// The node.
    pub node: String,
    /// The lane.
    pub lane: &'static str,
    /// Open connections.
    pub open: usize,
    /// Connections lent to calls.
    pub in_use: usize,
    /// Callers in the queue.
    pub waiting: usize,
    /// Connections that may be open.
    pub max: usize,
}

/// All metrics as OpenMetrics text. `nodes` names the nodes in their order; of those without a name no call is shown.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub fn openmetrics(calls: &Calls, nodes: &[String], mut gauges: Gauges) -> Result<String, fmt::Error> {
    let counts = calls.counts_by_server();
    let series: Vec<(String, CallCounts)> = counts
        .into_iter()
        .filter_map(|counts| {
            let node = nodes.get(counts.node).filter(|node| !node.is_empty())?;
            Some((labels(&[("method", counts.method), ("node", node), ("lane", counts.lane.name())]), counts))
        })
        .collect();
    let statements = gauges.statements.as_mut().map(|counts| std::mem::take(&mut counts.series));
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { refused: calls.refused_and_rerun(), gauges }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode_registry(&mut text, &registry)?;
    let mut plain = Text::new(&mut text);
    write_calls(&mut plain, &series)?;
    if let Some(statements) = &statements {
        statements::write(&mut plain, statements)?;
    }
    prometheus_client::encoding::text::encode_eof(&mut text)?;
    Ok(text)
}

fn write_calls(text: &mut Text<'_>, series: &[(String, CallCounts)]) -> fmt::Result {
    let help = "Time of a call of a repository method, from routing to commit";
    text.seconds("dbopt_call_duration_seconds", help, series.iter().map(|(labels, c)| (labels.as_str(), &c.latency)))?;
    let kinds = |(labels, c): &(String, CallCounts)| {
        [("application", c.application_errors), ("infrastructure", c.infrastructure_errors)]
            .map(|(kind, n)| (format!("{labels},kind=\"{kind}\""), n))
    };
    text.counter("dbopt_call_errors", "Calls that failed, by whose fault it was", series.iter().flat_map(kinds))
}

#[derive(Debug)]
struct Scrape {
    refused: Vec<(&'static str, u64, u64)>,
    gauges: Gauges,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "How long this instance of the application has been running";
        let uptime = encoder.encode_descriptor("dbopt_uptime", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        ConstGauge::new(self.gauges.uptime.as_secs_f64()).encode(uptime)?;
        self.encode_calls(&mut encoder)?;
        nodes::encode(&mut encoder, &self.gauges)?;
        self.encode_pools(&mut encoder)?;
        resilience::circuits(&mut encoder, &self.gauges.circuits)?;
        resilience::retries(&mut encoder, &self.gauges.retries)?;
        resilience::hedges(&mut encoder, self.gauges.hedges)?;
        takeovers::waits(&mut encoder, &self.gauges.waits)?;
        takeovers::takeovers(&mut encoder, &self.gauges.takeovers)?;
        if let Some(cache) = &self.gauges.cache {
            cache.encode(&mut encoder)?;
        }
        if let Some(limits) = &self.gauges.limits {
            limits.encode(&mut encoder)?;
        }
        if let Some(statements) = &self.gauges.statements {
            statements.encode(&mut encoder)?;
        }
        match &self.gauges.alerts {
            Some(alerts) => alerts.encode(&mut encoder),
            None => Ok(()),
        }
    }
}

impl Scrape {
    fn encode_calls(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut refused =
            encoder.encode_descriptor("dbopt_calls_refused", "Calls that no node took", None, MetricType::Counter)?;
        for (method, n, _) in &self.refused {
            ConstCounter::new(*n).encode(refused.encode_family(&[("method", *method)])?)?;
        }
        let mut rerun = encoder.encode_descriptor(
            "dbopt_calls_rerun",
            "Bodies run again on another node because theirs died or had to cancel them",
            None,
            MetricType::Counter,
        )?;
        for (method, _, n) in &self.refused {
            ConstCounter::new(*n).encode(rerun.encode_family(&[("method", *method)])?)?;
        }
        Ok(())
    }

    fn encode_pools(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Read = fn(&PoolGauges) -> usize;
        let figures: [(&str, &str, Read); 4] = [
            ("dbopt_pool_connections", "Open connections", |p| p.open),
            ("dbopt_pool_connections_in_use", "Connections lent to calls", |p| p.in_use),
            ("dbopt_pool_waiting", "Callers waiting for a connection", |p| p.waiting),
            ("dbopt_pool_connections_max", "Connections that may be open", |p| p.max),
        ];
        for (name, help, read) in figures {
            let rows = self
                .gauges
                .pools
                .iter()
                .map(|p| ([("node", p.node.clone()), ("lane", p.lane.to_owned())], read(p) as f64));
            gauge(encoder, name, help, None, rows)?;
        }
        Ok(())
    }
}

pub(super) fn gauge<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    rows: impl Iterator<Item = ([(&'static str, String); N], f64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (labels, value) in rows {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Outcome;
    use crate::op::{Intent, Lane, Op};

    #[test]
    fn a_call_appears_with_its_labels_and_cumulative_buckets() {
        static OP: Op = Op::new("Shown::call", Intent::Read);
        let calls = Calls::new(1);
        let series = calls.method(&OP);
        series.series(0, Lane::Read).record(Outcome::Ok, Duration::from_millis(3));
        series.series(0, Lane::Read).record(Outcome::InfrastructureError, Duration::from_secs(60));
        let text = openmetrics(&calls, &["db1".into()], Gauges::default()).unwrap();
        let line = |start: &str| {
            text.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{start} in {text}")).to_owned()
        };
        let labels = r#"method="Shown::call",node="db1",lane="read""#;
        assert!(line(&format!("dbopt_call_duration_seconds_bucket{{le=\"0.005\",{labels}}}")).ends_with(" 1"));
        assert!(line(&format!("dbopt_call_duration_seconds_bucket{{le=\"+Inf\",{labels}}}")).ends_with(" 2"));
        assert!(line("dbopt_call_duration_seconds_count").ends_with(" 2"));
        assert!(line(&format!("dbopt_call_errors_total{{{labels},kind=\"infrastructure\"}}")).ends_with(" 1"));
        assert!(text.ends_with("# EOF\n"));
    }
}
