//! What is known of statements, for people and programs.

use std::sync::Arc;

use serde::Serialize;

use super::advised::IndexAdvice;
use super::findings::{Repeated, place};
use super::fingerprint::{Counts, Fingerprint, Series};
use super::insight::Insight;
use super::plans::PlanStatus;
use super::shape::Kind;
use super::slow::SlowStatement;
use super::slow_file::SlowFileStatus;
use crate::observe::{StatementCounts, StatementSeries};
use crate::op::Op;

/// How many statements are shown.
const SHOWN: usize = 100;

/// What is known of statements.
#[derive(Debug, Clone, Serialize)]
pub struct InsightStatus {
    /// Whether statements are watched.
    pub enabled: bool,
    /// For how long they have been counted, in seconds.
    pub counted_seconds: u32,
    /// How many fingerprints have a place, and how many places there are.
    pub fingerprints: [usize; 2],
    /// Those that took the most time in all, at most a hundred, and what found no place.
    pub statements: Vec<StatementStatus>,
    /// How many plans were asked for, and how many of these could not be told.
    pub plans: [u64; 2],
    /// The last slow statements, newest first.
    pub slow: Vec<SlowStatement>,
    /// How many slow ones were not told of since the last that was.
    pub slow_suppressed: u64,
    /// The file to which they are written, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_file: Option<SlowFileStatus>,
    /// What repeats itself within a context, the most expensive first.
    pub repeated: Vec<Repeated>,
    /// Which indexes are missing, and which are not needed.
    pub indexes: IndexAdvice,
    /// Statements of which less is known, by the reason.
    pub skipped: Vec<(&'static str, u64)>,
}

/// A statement, over all methods and nodes.
#[derive(Debug, Clone, Serialize)]
pub struct StatementStatus {
    /// Its fingerprint: the same on all instances.
    pub fingerprint: String,
    /// Its text without values.
    pub sql: Arc<str>,
    /// What it does.
    pub kind: Kind,
    /// Whether it is dbopt's own.
    pub own: bool,
    /// The types of its placeholders.
    pub bind_types: Vec<String>,
    /// The time of all runs, in milliseconds.
    pub total_ms: f64,
    /// How the planner runs it.
    pub plan: Option<PlanStatus>,
    /// Why there is no plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_absent: Option<String>,
    /// By method, node and lane.
    pub runs: Vec<StatementRuns>,
}

/// The runs of a statement for one method on one node and lane.
#[derive(Debug, Clone, Serialize)]
pub struct StatementRuns {
    /// The method.
    pub method: Option<&'static str>,
    /// Where it stands.
    pub at: Option<String>,
    /// The node.
    pub node: Arc<str>,
    /// The lane.
    pub lane: &'static str,
    /// How often.
    pub count: u64,
    /// Rows that the server sent.
    pub rows: u64,
    /// Runs that the server refused.
    pub errors: u64,
    /// Runs that were cancelled.
    pub cancelled: u64,
    /// Runs whose connection ended.
    pub lost: u64,
    /// Slow runs.
    pub slow: u64,
    /// What calls waited for a connection whose first statement it was, in milliseconds, over all runs.
    pub waited_ms: f64,
    /// The mean time to the first row, in milliseconds.
    pub first_row_ms: Option<f64>,
    /// The mean time, in milliseconds.
    pub mean_ms: f64,
    /// The time that half of the runs stayed below, in milliseconds.
    pub p50_ms: f64,
    /// The time that 99 of 100 runs stayed below, in milliseconds.
    pub p99_ms: f64,
}

impl Insight {
    /// What is known right now.
    pub fn status(&self) -> InsightStatus {
        let mut statements: Vec<StatementStatus> = self
            .statistics
            .all()
            .iter()
            .map(|fingerprint| self.statement(fingerprint))
            .filter(|s| !s.runs.is_empty())
            .collect();
        statements.sort_by(|one, other| other.total_ms.total_cmp(&one.total_ms));
        statements.truncate(SHOWN);
        InsightStatus {
            enabled: self.config.enabled,
            counted_seconds: self.statistics.age(),
            fingerprints: [self.statistics.len(), self.config.fingerprints],
            statements,
            plans: self.plans.counts(),
            slow: self.slow.latest(),
            slow_suppressed: self.slow.suppressed(),
            slow_file: self.slow.file.as_ref().map(|file| file.status()),
            repeated: self.findings.status(),
            indexes: self.advised.status(),
            skipped: self.statistics.skipped().collect(),
        }
    }

    fn statement(&self, fingerprint: &Arc<Fingerprint>) -> StatementStatus {
        let runs: Vec<StatementRuns> = fingerprint.all_series().iter().map(|series| runs(series)).collect();
        let (plan, plan_absent) = match self.plans.status(fingerprint) {
            Ok(plan) => (Some(plan), None),
            Err(why) => (None, why),
        };
        StatementStatus {
            fingerprint: format!("{:016x}", fingerprint.id()),
            sql: fingerprint.text().clone(),
            kind: fingerprint.kind(),
            own: fingerprint.is_own(),
            bind_types: fingerprint.types().iter().map(|number| super::types::name(*number)).collect(),
            total_ms: runs.iter().map(|runs| runs.mean_ms * runs.count as f64).sum(),
            plan,
            plan_absent,
            runs,
        }
    }

    /// What is counted, for the metrics: by method, without any text.
    pub fn counts(&self) -> StatementCounts {
        let mut all: Vec<StatementSeries> = Vec::new();
        for series in self.statistics.all().iter().flat_map(|fingerprint| fingerprint.all_series().to_vec()) {
            let key = (series.op.map_or("", Op::name), &series.place.node, series.place.lane.name());
            let same = all.iter_mut().find(|known| (known.method, &known.node, known.lane) == key);
            let counts = series.counts();
            let added = StatementSeries {
                method: key.0,
                node: key.1.clone(),
                lane: key.2,
                latency: counts.latency,
                rows: counts.rows,
                errors: counts.failures.iter().sum(),
                slow: counts.slow,
            };
            match same {
                Some(known) => known.add(&added),
                None => all.push(added),
            }
        }
        StatementCounts {
            series: all,
            repeated: self.findings.counts(),
            skipped: self.statistics.skipped().collect(),
            fingerprints: self.statistics.len(),
            indexes: self.advised.counts(),
        }
    }
}

fn runs(series: &Series) -> StatementRuns {
    let Counts { latency, rows, failures, slow, first_row, first_rows, waited_nanos } = series.counts();
    let [errors, lost, cancelled] = failures;
    let count = latency.count();
    StatementRuns {
        method: series.op.map(Op::name),
        at: place(series.op),
        node: series.place.node.clone(),
        lane: series.place.lane.name(),
        count,
        rows,
        errors,
        cancelled,
        lost,
        slow,
        waited_ms: waited_nanos as f64 / 1e6,
        first_row_ms: (first_rows > 0).then(|| first_row * 1e3 / first_rows as f64),
        mean_ms: if count == 0 { 0.0 } else { latency.sum * 1e3 / count as f64 },
        p50_ms: latency.quantile(0.5).unwrap_or(0.0) * 1e3,
        p99_ms: latency.quantile(0.99).unwrap_or(0.0) * 1e3,
    }
}
