//! What drivers tell of statements, and what becomes of it.

use std::fmt;
use std::sync::{Arc, Weak};

use super::advise::Report;
use super::advised::Advised;
use super::config::Config;
use super::findings::{Finding, Findings};
use super::fingerprint::{Fingerprint, Known, Outcome, Place, Times};
use super::plan::Plan;
use super::plans::{PlanStatus, Plans, Question};
use super::scope::{Ran, Scope};
use super::slow::{SlowLog, SlowRun};
use super::statistics::Statistics;
use super::streaks::Run;
use crate::background::Task;
use crate::context::{self, Context};
use crate::error::SqlState;
use crate::op::Op;

/// Everything that is known of statements.
#[derive(Debug)]
pub struct Insight {
    pub(super) config: Config,
    pub(super) statistics: Statistics,
    pub(super) slow: SlowLog,
    pub(super) findings: Findings,
    pub(super) plans: Plans,
    pub(super) advised: Advised,
}

/// A statement that has ended, as a driver saw it.
#[derive(Debug)]
pub struct Ended<'a> {
    /// What it was recognised as.
    pub known: &'a Known,
    /// Where it ran.
    pub place: &'a Place,
    /// The method it ran for.
    pub op: Option<&'static Op>,
    /// What it belongs to.
    pub scope: &'a Weak<Scope>,
    /// See [`Known::identity`].
    pub identity: u64,
    /// Its times.
    pub times: Times,
    /// Rows that the server sent.
    pub rows: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed.
    pub sqlstate: Option<SqlState>,
}

/// A slow run as it was sent: held until it is told of, so that the planner can be asked about its values.
pub struct Sent {
    /// Its text.
    pub sql: Arc<str>,
    /// Its bound values as the protocol has them, behind the names of a Bind message; they may be cut.
    pub binds: Box<[u8]>,
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").finish_non_exhaustive()
    }
}

impl Insight {
    /// With these settings.
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Insight {
            statistics: Statistics::new(config.fingerprints),
            slow: SlowLog::new(&config),
            findings: Findings::default(),
            plans: Plans::new(config.plans, config.plan_age),
            advised: Advised::default(),
            config,
        })
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The background loops of its own.
    pub(crate) fn tasks(&self) -> Vec<Task> {
        let file = self.slow.file.clone().filter(|_| self.config.enabled);
        file.into_iter().map(|file| -> Task { ("write slow statements", Box::pin(file.write())) }).collect()
    }

    /// Whether anything is watched.
    pub fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    /// What a text is; `cut` says that its end is missing. The first time it is read through, then it is known.
    pub fn recognise(&self, sql: &str, cut: bool) -> Known {
        let known = self.statistics.recognise(sql, cut);
        if known.fingerprint.all_series().is_empty() {
            self.plans.want(&known.fingerprint);
        }
        known
    }

    /// What a statement is whose text was not seen.
    pub fn unseen(&self) -> Known {
        self.statistics.unseen()
    }

    /// For calls that belong to nothing: each of them alone.
    pub fn own_scope(self: &Arc<Self>) -> Arc<Scope> {
        Arc::new(Scope::new(Arc::downgrade(self)))
    }

    /// What a call of `context` belongs to, if to anything. Asked in the caller's own task.
    pub fn scope_of(self: &Arc<Self>, context: Option<&Context>) -> Option<Arc<Scope>> {
        if let Some(watched) = context::watched().and_then(|watched| watched.downcast().ok()) {
            return Some(watched);
        }
        let attached = context?.attached(|| self.own_scope())?;
        Some(attached.clone())
    }

    /// Whether calls of cached methods are counted.
    #[inline]
    pub(crate) fn counts_calls(&self) -> bool {
        self.config.enabled && self.config.n_plus_one > 0
    }

    /// A cached method is called with arguments of which `identity` is a hash; asked in the caller's own task.
    #[inline]
    pub(crate) fn called(self: &Arc<Self>, op: &'static Op, identity: u64) {
        if Context::is_within() || context::is_watched() {
            self.called_within(op, identity);
        }
    }

    #[inline(never)]
    fn called_within(self: &Arc<Self>, op: &'static Op, identity: u64) {
        let context = Context::current();
        if let Some(scope) = self.scope_of(context.as_ref()) {
            let run = Run { identity, took: std::time::Duration::ZERO, now: self.statistics.now() };
            scope.called(op, run, self.config.n_plus_one as usize);
        }
    }

    /// Whether a statement that took so long is slow, so that its values may be asked for.
    pub fn is_slow(&self, times: &Times) -> bool {
        times.total >= self.config.slow
    }

    /// Whether anybody will want to know what was bound, of a run that turns out to be slow.
    pub fn wants_values(&self) -> bool {
        self.config.plans || self.config.values
    }

    /// A statement has ended; `sent` is asked for what was sent, and only if it was slow.
    pub fn ended(&self, ended: &Ended<'_>, sent: impl FnOnce() -> Option<Sent>) {
        let slow = self.is_slow(&ended.times);
        let counted = (&ended.times, ended.rows, ended.outcome);
        let fingerprint = self.statistics.record(ended.known, (ended.op, ended.place), counted, slow);
        if let Some(scope) = ended.scope.upgrade() {
            let run = Run { identity: ended.identity, took: ended.times.total, now: self.statistics.now() };
            let (rows, outcome) = (ended.rows, ended.outcome);
            let ran = Ran { op: ended.op, fingerprint: &fingerprint, node: &ended.place.node, run, rows, outcome };
            scope.ran(&ran, self.config.n_plus_one as usize);
        }
        if slow {
            self.slow.take(|suppressed, now| {
                let sent = if self.wants_values() { sent() } else { None };
                let shown = sent.as_ref().filter(|_| self.config.values);
                SlowRun {
                    fingerprint: (*fingerprint).clone(),
                    op: ended.op,
                    place: ended.place.clone(),
                    times: ended.times,
                    rows: ended.rows,
                    outcome: ended.outcome,
                    sqlstate: ended.sqlstate,
                    values: shown.map(|sent| ended.known.values(&sent.binds)),
                    sent: sent.filter(|_| self.config.plans && fingerprint.takes_values()),
                    suppressed,
                    ended: now,
                }
            });
        }
    }

    /// Completes when there may be something to tell of a slow statement.
    pub(crate) async fn slow_ones(&self) {
        self.slow.news.notified().await;
    }

    /// A slow statement that waits to be told of.
    pub(crate) fn next_slow(&self) -> Option<SlowRun> {
        self.slow.next()
    }

    /// What is to be asked before it is told of.
    pub(crate) fn missing_plan(&self, run: &SlowRun) -> Option<Question> {
        self.plans.missing(&run.fingerprint)
    }

    /// Whether the planner is to be asked about the values of this run.
    pub(crate) fn wants_plan_for_values(&self, run: &SlowRun) -> bool {
        run.sent.is_some() && self.plans.wants_values(&run.fingerprint)
    }

    /// The answer for the values of a run.
    pub(crate) fn planned_with(&self, run: &SlowRun, told: Result<Plan, String>) -> Option<PlanStatus> {
        self.plans.told_with(&run.fingerprint, &told);
        told.ok().as_ref().and_then(PlanStatus::of)
    }

    /// Tells of a slow statement, with its plan as far as it is known.
    pub(crate) fn tell_slow(&self, run: &SlowRun, plan_for_values: Option<PlanStatus>) {
        self.slow.tell(run, self.plans.status(&run.fingerprint), plan_for_values);
    }

    /// The tables in the plans of statements that were run lately.
    pub(crate) fn planned_tables(&self) -> Vec<String> {
        let all = self.statistics.all();
        self.plans.tables(all.iter().filter(|fingerprint| self.was_run_lately(fingerprint)))
    }

    /// Tables of a plan just told that have no mark yet.
    pub(crate) fn unmarked_tables(&self, question: &Question) -> Vec<String> {
        self.plans.unmarked(&question.fingerprint)
    }

    /// Marks of tables were told: plans that use a table that has changed are asked for again. Gives how many.
    pub(crate) fn tables_marked(&self, asked: &[String], told: Vec<(String, String)>) -> usize {
        let outdated = self.plans.marked(asked, told, &self.statistics.all());
        for fingerprint in outdated.iter().filter(|fingerprint| self.was_run_lately(fingerprint)) {
            self.plans.want(fingerprint);
        }
        outdated.len()
    }

    fn was_run_lately(&self, fingerprint: &Fingerprint) -> bool {
        self.statistics.now().saturating_sub(fingerprint.used_at()) <= 60
    }

    /// Completes when there may be a plan to ask for.
    pub(crate) async fn questions(&self) {
        self.plans.news.notified().await;
    }

    /// The next plan to ask for.
    pub(crate) fn next_question(&self) -> Option<Question> {
        self.plans.next()
    }

    /// The answer; gives the plan before and this one, if this one is worse.
    pub(crate) fn planned(&self, question: &Question, told: Result<Plan, String>) -> Option<(Arc<Plan>, Arc<Plan>)> {
        self.plans.told(question, told)
    }

    /// Once a second: the time goes on, and now and then plans that have become old are wanted again.
    pub(crate) fn tend(&self) {
        self.statistics.tend();
        if self.config.plans && self.statistics.now().is_multiple_of(60) {
            for fingerprint in self.statistics.all() {
                if self.was_run_lately(&fingerprint) && self.plans.is_old(&fingerprint) {
                    self.plans.want(&fingerprint);
                }
            }
        }
    }

    /// Nobody looks which indexes are missing, and why.
    pub(crate) fn never_advised(&self, why: &str) {
        self.advised.never(why);
    }

    /// It will be looked in so long which indexes are missing.
    pub(crate) fn advised_in(&self, time: std::time::Duration) {
        self.advised.looks_in(time);
    }

    /// What was found of indexes; gives what is news, or the reason for having nothing if that is news.
    pub(crate) fn advised(
        &self,
        took: std::time::Duration,
        told: Result<Report, String>,
    ) -> Result<Vec<String>, Option<String>> {
        self.advised.told(took, told)
    }

    /// Repetitions that were found for the first time.
    pub(crate) fn take_news(&self) -> Vec<Finding> {
        self.findings.take_news()
    }
}
