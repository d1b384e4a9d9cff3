//! The metrics of statements: by method, never by text.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge};

use super::histogram::HistogramCounts;
use super::text::{Text, labels};

/// What was counted of statements, at the moment of the scrape.
#[derive(Debug, Clone, Default)]
pub struct StatementCounts {
    /// One per method, node and lane.
    pub series: Vec<StatementSeries>,
    /// By method: contexts in which it repeated itself.
    pub repeated: Vec<(&'static str, u64)>,
    /// Statements of which less is known, by the reason.
    pub skipped: Vec<(&'static str, u64)>,
    /// Fingerprints that have a place.
    pub fingerprints: usize,
    /// Indexes that advice names, by kind; none before it was looked for the first time.
    pub indexes: Vec<(&'static str, usize)>,
}

/// The statements of one method on one node and lane.
#[derive(Debug, Clone)]
pub struct StatementSeries {
    /// The method; empty where none is known.
    pub method: &'static str,
    /// The node.
    pub node: Arc<str>,
    /// The lane.
    pub lane: &'static str,
    /// Their times.
    pub latency: HistogramCounts,
    /// Rows that the server sent.
    pub rows: u64,
    /// Those that failed, were cancelled or lost.
    pub errors: u64,
    /// Slow ones.
    pub slow: u64,
}

impl StatementSeries {
    /// Adds what another one counted.
    pub fn add(&mut self, other: &StatementSeries) {
        self.latency.add(&other.latency);
        self.rows += other.rows;
        self.errors += other.errors;
        self.slow += other.slow;
    }
}

/// The families with a sample for each series.
pub(super) fn write(text: &mut Text<'_>, series: &[StatementSeries]) -> fmt::Result {
    let labelled =
        |series: &StatementSeries| labels(&[("method", series.method), ("node", &series.node), ("lane", series.lane)]);
    let labels: Vec<String> = series.iter().map(labelled).collect();
    let help = "Time of a statement, from the moment it was sent to its end";
    let latencies = labels.iter().zip(series).map(|(labels, series)| (labels.as_str(), &series.latency));
    text.seconds("dbopt_statement_duration_seconds", help, latencies)?;
    type Read = fn(&StatementSeries) -> u64;
    let figures: [(&str, &str, Read); 3] = [
        ("dbopt_statement_rows", "Rows that servers sent", |series| series.rows),
        ("dbopt_statement_errors", "Statements that failed, were cancelled or lost", |series| series.errors),
        ("dbopt_slow_statements", "Statements that took insight.slow or longer", |series| series.slow),
    ];
    for (name, help, read) in figures {
        text.counter(name, help, labels.iter().zip(series.iter().map(read)))?;
    }
    Ok(())
}

impl StatementCounts {
    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Contexts in which a method repeated one statement with different values (N+1)";
        let mut repeated = encoder.encode_descriptor("dbopt_n_plus_one", help, None, MetricType::Counter)?;
        for (method, count) in &self.repeated {
            ConstCounter::new(*count).encode(repeated.encode_family(&[("method", *method)])?)?;
        }
        let help = "Statements of which less is known, by the reason";
        let mut skipped = encoder.encode_descriptor("dbopt_statements_skipped", help, None, MetricType::Counter)?;
        for (reason, count) in &self.skipped {
            ConstCounter::new(*count).encode(skipped.encode_family(&[("reason", *reason)])?)?;
        }
        let help = "Fingerprints that are kept";
        let fingerprints = encoder.encode_descriptor("dbopt_fingerprints", help, None, MetricType::Gauge)?;
        ConstGauge::new(self.fingerprints as f64).encode(fingerprints)?;
        let help = "Indexes that are missing or not needed, as of the last look";
        let mut indexes = encoder.encode_descriptor("dbopt_index_advice", help, None, MetricType::Gauge)?;
        for (kind, count) in &self.indexes {
            ConstGauge::new(*count as f64).encode(indexes.encode_family(&[("kind", *kind)])?)?;
        }
        Ok(())
    }
}
