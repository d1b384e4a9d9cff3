//! Slow statements: a few of many are told, the newest are kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::config::Config;
use super::findings::place;
use super::fingerprint::{Fingerprint, Outcome, Place, Times};
use super::insight::Sent;
use super::plans::PlanStatus;
use super::slow_file::SlowFile;
use super::{types, values};
use crate::backend::BoundValue;
use crate::error::SqlState;
use crate::op::Op;

/// How many records are kept.
const KEPT: usize = 100;

/// How many wait to be told at most.
const WAITING: usize = 64;

/// A slow statement, with everything but its values.
#[derive(Debug, Clone, Serialize)]
pub struct SlowStatement {
    /// How long ago it ended, in seconds.
    pub ago_seconds: f64,
    /// The method that ran it.
    pub method: Option<&'static str>,
    /// Where that stands.
    pub at: Option<String>,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its text without values.
    pub sql: Arc<str>,
    /// The node it ran on.
    pub node: Arc<str>,
    /// The lane.
    pub lane: &'static str,
    /// How it ended: `completed`, `cancelled`, `lost`, or the error's SQLSTATE.
    pub end: String,
    /// What its call waited for a connection, in milliseconds, if it was the call's first statement.
    pub waited_ms: f64,
    /// From the moment it was sent to its first row, in milliseconds.
    pub first_row_ms: Option<f64>,
    /// From the moment it was sent to its end, in milliseconds.
    pub total_ms: f64,
    /// Rows that the server sent.
    pub rows: u64,
    /// The types of its bound values.
    pub bind_types: Vec<String>,
    /// The values themselves, with `insight.values` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    /// How the planner runs it.
    pub plan: Option<PlanStatus>,
    /// Why there is no plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_absent: Option<String>,
    /// How the planner runs it with the values that this run had, without the values; for one run of a statement in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_for_values: Option<PlanStatus>,
    /// How many slow statements before it were counted and not told.
    pub suppressed: u64,
}

/// A slow run that is to be told.
#[derive(Debug)]
pub(crate) struct SlowRun {
    pub(super) fingerprint: Arc<Fingerprint>,
    pub(super) op: Option<&'static Op>,
    pub(super) place: Place,
    pub(super) times: Times,
    pub(super) rows: u64,
    pub(super) outcome: Outcome,
    pub(super) sqlstate: Option<SqlState>,
    pub(super) values: Option<Vec<String>>,
    /// For the planner; gone with this.
    pub(super) sent: Option<Sent>,
    pub(super) suppressed: u64,
    pub(super) ended: Instant,
}

impl SlowRun {
    /// Its text and its values, where the planner may be asked about these.
    pub(crate) fn with_values(&self) -> Option<(&str, Vec<BoundValue<'_>>)> {
        let sent = self.sent.as_ref()?;
        Some((&sent.sql, values::whole(&sent.binds, self.fingerprint.types())?))
    }

    fn record(&self, plan: Result<PlanStatus, Option<String>>, plan_for_values: Option<PlanStatus>) -> SlowStatement {
        let (plan, plan_absent) = match plan {
            Ok(plan) => (Some(plan), None),
            Err(why) => (None, why),
        };
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        SlowStatement {
            ago_seconds: 0.0,
            method: self.op.map(Op::name),
            at: place(self.op),
            fingerprint: format!("{:016x}", self.fingerprint.id()),
            sql: self.fingerprint.text().clone(),
            node: self.place.node.clone(),
            lane: self.place.lane.name(),
            end: match (self.outcome, self.sqlstate) {
                (Outcome::Completed, _) => "completed".into(),
                (Outcome::Cancelled, _) => "cancelled".into(),
                (Outcome::Lost, _) => "lost".into(),
                (Outcome::Failed, Some(sqlstate)) => sqlstate.to_string(),
                (Outcome::Failed, None) => "failed".into(),
            },
            waited_ms: ms(self.times.waited),
            first_row_ms: self.times.first_row.map(ms),
            total_ms: ms(self.times.total),
            rows: self.rows,
            bind_types: self.fingerprint.types().iter().map(|number| types::name(*number)).collect(),
            values: self.values.clone(),
            plan,
            plan_absent,
            plan_for_values,
            suppressed: self.suppressed,
        }
    }
}

/// So many in a second, and twice as many at once. Pure.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    left: f64,
    at: Option<Instant>,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let most = self.per_second * 2.0;
        let gained = self.at.map_or(most, |at| now.duration_since(at).as_secs_f64() * self.per_second);
        self.left = (self.left + gained).min(most);
        self.at = Some(now);
        let some = self.left >= 1.0;
        self.left -= f64::from(u8::from(some));
        some
    }
}

/// The log of slow statements.
#[derive(Debug)]
pub(super) struct SlowLog {
    bucket: Mutex<Bucket>,
    suppressed: AtomicU64,
    waiting: Mutex<VecDeque<SlowRun>>,
    pub(super) news: Notify,
    kept: Mutex<VecDeque<(Instant, SlowStatement)>>,
    pub(super) file: Option<Arc<SlowFile>>,
}

impl SlowLog {
    pub(super) fn new(config: &Config) -> Self {
        SlowLog {
            bucket: Mutex::new(Bucket { per_second: f64::from(config.slow_per_second), left: 0.0, at: None }),
            suppressed: AtomicU64::new(0),
            waiting: Mutex::default(),
            news: Notify::new(),
            kept: Mutex::default(),
            file: SlowFile::of(config),
        }
    }

    /// Takes a slow run to be told, if it is not one too many.
    #[cold]
    pub(super) fn take(&self, make: impl FnOnce(u64, Instant) -> SlowRun) {
        let now = Instant::now();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING || !self.bucket.lock().take(now) {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.push_back(make(self.suppressed.swap(0, Ordering::Relaxed), now));
        drop(waiting);
        self.news.notify_one();
    }

    pub(super) fn next(&self) -> Option<SlowRun> {
        self.waiting.lock().pop_front()
    }

    /// Tells of a run: to the log, and to all who look at the status.
    pub(super) fn tell(
        &self,
        run: &SlowRun,
        plan: Result<PlanStatus, Option<String>>,
        plan_for_values: Option<PlanStatus>,
    ) {
        let record = run.record(plan, plan_for_values);
        let plan = record.plan.as_ref();
        let another_way = |one: &&PlanStatus| plan.is_none_or(|plan| plan.hash != one.hash);
        let for_values = record.plan_for_values.as_ref().filter(another_way);
        tracing::warn!(
            target: "dbopt::slow",
            method = record.method,
            at = record.at,
            fingerprint = record.fingerprint,
            node = %record.node,
            lane = record.lane,
            end = record.end,
            waited_ms = record.waited_ms,
            first_row_ms = record.first_row_ms,
            total_ms = record.total_ms,
            rows = record.rows,
            bind_types = record.bind_types.join(", "),
            values = record.values.as_ref().map(|values| values.join(", ")),
            suppressed = record.suppressed,
            costly = plan.map(|plan| plan.costly.as_str()),
            costly_cost = plan.map(|plan| plan.costly_cost),
            plan_cost = plan.map(|plan| plan.cost),
            plan = plan.map(|plan| plan.lines.join("\n")),
            plan_absent = record.plan_absent.as_deref(),
            values_plan_cost = for_values.map(|plan| plan.cost),
            values_plan = for_values.map(|plan| plan.lines.join("\n")),
            "slow statement: {}", record.sql
        );
        if let Some(file) = &self.file {
            file.take(&record);
        }
        let mut kept = self.kept.lock();
        kept.truncate(KEPT - 1);
        kept.push_front((run.ended, record));
    }

    /// The last ones, newest first.
    pub(super) fn latest(&self) -> Vec<SlowStatement> {
        let aged = |(at, record): &(Instant, SlowStatement)| SlowStatement {
            ago_seconds: at.elapsed().as_secs_f64(),
            ..record.clone()
        };
        self.kept.lock().iter().map(aged).collect()
    }

    /// How many were not told since the last that was.
    pub(super) fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_storm_is_sampled_and_its_size_is_known() {
        let mut bucket = Bucket { per_second: 10.0, left: 0.0, at: None };
        let start = Instant::now();
        let told = (0..1000).filter(|n| bucket.take(start + Duration::from_millis(*n))).count();
        assert!((29..=31).contains(&told), "{told}: twenty at once, and ten in the second");
        assert!(bucket.take(start + Duration::from_secs(60)));
    }
}
