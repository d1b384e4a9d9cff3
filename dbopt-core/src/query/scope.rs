//! What belongs together: the calls of one context, of one test, or one call alone.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::findings::Finding;
use super::fingerprint::{Fingerprint, Outcome};
use super::insight::Insight;
use super::shape::Kind;
use super::streaks::{Run, Streaks, What};
use crate::context;
use crate::op::Op;

/// What belongs together: whose statements are looked at for repetition.
pub struct Scope {
    insight: Weak<Insight>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    streaks: Streaks,
    /// Everything that ran, where somebody wants to know.
    log: Option<Vec<Logged>>,
}

/// A statement that ran.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Logged {
    /// The method that ran it.
    pub method: Option<&'static str>,
    /// The node it ran on.
    pub node: Arc<str>,
    /// Its text without values.
    pub sql: Arc<str>,
    /// What it does.
    pub kind: Kind,
    /// Whether it is the application's, and no BEGIN, COMMIT or question of dbopt's own.
    pub is_query: bool,
    /// Rows that the server sent.
    pub rows: u64,
    /// From the moment it was sent to its end.
    pub total: Duration,
    /// Whether it was completed.
    pub completed: bool,
}

/// What a scope is told of a run.
pub(super) struct Ran<'a> {
    pub(super) op: Option<&'static Op>,
    pub(super) fingerprint: &'a Arc<Fingerprint>,
    pub(super) node: &'a Arc<str>,
    pub(super) run: Run,
    pub(super) rows: u64,
    pub(super) outcome: Outcome,
}

impl Scope {
    pub(super) fn new(insight: Weak<Insight>) -> Self {
        Scope { insight, state: Mutex::default() }
    }

    /// One that keeps a list of everything that runs, for tests.
    pub fn logging() -> Self {
        let scope = Scope::new(Weak::new());
        scope.state.lock().log = Some(Vec::new());
        scope
    }

    /// Runs `future` as what belongs together, whatever contexts it has inside.
    pub fn watch<F: Future>(self: &Arc<Self>, future: F) -> impl Future<Output = F::Output> {
        context::watching(self.clone(), future)
    }

    /// What ran so far, if it was made to keep that.
    pub fn log(&self) -> Vec<Logged> {
        self.state.lock().log.clone().unwrap_or_default()
    }

    /// What was repeated so far.
    pub fn findings(&self) -> Vec<Finding> {
        self.state.lock().streaks.told().map(Finding::of).collect()
    }

    pub(super) fn ran(&self, ran: &Ran<'_>, threshold: usize) {
        let mut state = self.state.lock();
        let what = What::Statement(ran.fingerprint);
        if let Some(streak) = state.streaks.note(ran.op, what, ran.run, threshold) {
            let finding = Finding::of(streak);
            self.tell(|insight| insight.findings.begins(&finding));
        }
        if let Some(log) = &mut state.log {
            let shape = &ran.fingerprint.shape;
            log.push(Logged {
                method: ran.op.map(Op::name),
                node: ran.node.clone(),
                sql: ran.fingerprint.text().clone(),
                kind: shape.kind,
                is_query: !shape.own && shape.kind != Kind::Utility,
                rows: ran.rows,
                total: ran.run.took,
                completed: ran.outcome == Outcome::Completed,
            });
        }
    }

    pub(super) fn called(&self, op: &'static Op, run: Run, threshold: usize) {
        let mut state = self.state.lock();
        if let Some(streak) = state.streaks.note(Some(op), What::Calls, run, threshold) {
            let finding = Finding::of(streak);
            self.tell(|insight| insight.findings.begins(&finding));
        }
    }

    fn tell(&self, what: impl FnOnce(&Insight)) {
        if let Some(insight) = self.insight.upgrade() {
            what(&insight);
        }
    }

    /// What belongs together is over; something else may begin.
    pub fn close(&self) {
        let mut state = self.state.lock();
        if state.streaks.told().next().is_none() {
            state.streaks.clear();
            return;
        }
        let ended = std::mem::take(&mut state.streaks);
        drop(state);
        for streak in ended.told() {
            self.tell(|insight| insight.findings.ended(&Finding::of(streak), streak.told.unwrap_or_default()));
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}
