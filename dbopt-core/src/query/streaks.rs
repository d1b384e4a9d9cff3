//! What is run again and again within one context. Pure: time is told.
//!
//! A streak is one statement of one method, or the calls of one cached method. It counts runs with different values; it begins anew when
//! nothing of it ran for a while, as in a context that lives for long.

use std::sync::Arc;
use std::time::Duration;

use super::fingerprint::Fingerprint;
use super::shape::Kind;
use crate::op::Op;

/// A streak ends when nothing of it has run for more than so many ticks.
const GAP: u32 = 1;

/// So many streaks are followed within a context.
const MOST: usize = 256;

/// What is repeated.
#[derive(Debug, Clone, Copy)]
pub(super) enum What<'a> {
    /// A statement.
    Statement(&'a Arc<Fingerprint>),
    /// Calls of a cached method, answered by whom ever.
    Calls,
}

/// What of [`What`] is compared and kept.
#[derive(Debug, Clone, Copy)]
struct Key {
    /// The name of the statement; none for calls of a cached method.
    statement: Option<u64>,
    /// Whether running it again with other values could have been one run.
    counts: bool,
}

impl Key {
    fn of(what: What<'_>) -> Self {
        let What::Statement(fingerprint) = what else { return Key { statement: None, counts: true } };
        let shape = &fingerprint.shape;
        let counts =
            shape.kind != Kind::Utility && shape.has_table && !shape.batch && !shape.own && shape.statements == 1;
        Key { statement: Some(fingerprint.id()), counts }
    }
}

/// One run, or one call of a cached method.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// The same for runs that mean the same rows.
    pub(super) identity: u64,
    pub(super) took: Duration,
    /// The tick at which it ended.
    pub(super) now: u32,
}

/// Something that one method did again and again.
#[derive(Debug, Clone)]
pub(super) struct Streak {
    pub(super) op: Option<&'static Op>,
    /// The name of the statement; none for calls of a cached method.
    statement: Option<u64>,
    /// The statement, from when others are told: all threads count who holds it in one place, so most runs leave it alone.
    pub(super) fingerprint: Option<Arc<Fingerprint>>,
    /// The method that ran before it began.
    pub(super) outer: Option<&'static Op>,
    pub(super) runs: u64,
    pub(super) took: Duration,
    /// Statements that calls of a cached method ran.
    statements: u64,
    distinct: Vec<u64>,
    last: u32,
    /// Whether it was found to be N+1; the runs that others know of, and what they know was lost.
    pub(super) told: Option<(u64, Duration)>,
}

impl Streak {
    /// How many of the calls ran no statement.
    pub(super) fn hits(&self) -> u64 {
        match self.statement {
            None => self.runs.saturating_sub(self.statements),
            Some(_) => 0,
        }
    }

    /// What one run for all would have saved: it is taken to last as long as one.
    pub(super) fn lost(&self) -> Duration {
        let n = if self.statement.is_none() { self.statements } else { self.runs };
        self.took.checked_div(u32::try_from(n).unwrap_or(u32::MAX)).map_or(Duration::ZERO, |one| self.took - one)
    }
}

/// The streaks of one context.
#[derive(Debug, Default)]
pub(super) struct Streaks {
    /// The first run, as long as it is the only one: most calls run one statement, which is no streak.
    first: Option<(Option<&'static Op>, Key, Run)>,
    all: Vec<Streak>,
    /// The method that ran last.
    last: Option<&'static Op>,
}

fn same(one: Option<&'static Op>, other: Option<&'static Op>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => std::ptr::eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

impl Streaks {
    /// Notes a run; gives the streak when it is one that others should know of, for the first time.
    pub(super) fn note(
        &mut self,
        op: Option<&'static Op>,
        what: What<'_>,
        run: Run,
        threshold: usize,
    ) -> Option<&Streak> {
        let key = Key::of(what);
        match self.first.take() {
            None if self.all.is_empty() && threshold > 1 => {
                self.first = Some((op, key, run));
                return None;
            }
            None => {}
            Some((op, key, run)) => drop(self.count(op, key, run, threshold)),
        }
        let at = self.count(op, key, run, threshold)?;
        let streak = &mut self.all[at];
        if let What::Statement(fingerprint) = what {
            streak.fingerprint = Some(fingerprint.clone());
        }
        Some(streak)
    }

    /// Counts a run; gives the place of its streak when others should know of it, for the first time.
    fn count(&mut self, op: Option<&'static Op>, key: Key, run: Run, threshold: usize) -> Option<usize> {
        let before = self.last;
        self.last = op.or(before);
        if let (Some(_), Some(calls)) = (key.statement, self.position(op, None)) {
            self.all[calls].statements += 1;
            self.all[calls].took += run.took;
        }
        if threshold == 0 || !key.counts {
            return None;
        }
        let at = match self.position(op, key.statement) {
            Some(at) => at,
            None if self.all.len() < MOST => {
                let outer = before.filter(|before| !same(Some(before), op)).and_then(|before| self.origin(before));
                self.all.push(Streak {
                    op,
                    statement: key.statement,
                    fingerprint: None,
                    outer,
                    runs: 0,
                    took: Duration::ZERO,
                    statements: 0,
                    distinct: Vec::new(),
                    last: run.now,
                    told: None,
                });
                self.all.len() - 1
            }
            None => return None,
        };
        let streak = &mut self.all[at];
        // A run that took long was begun long before it ended.
        let pause = run.now.saturating_sub(streak.last).saturating_sub(run.took.as_secs() as u32);
        if pause > GAP && streak.told.is_none() {
            (streak.runs, streak.statements, streak.took) = (0, 0, Duration::ZERO);
            streak.distinct.clear();
        }
        streak.last = run.now;
        streak.runs += 1;
        if streak.statement.is_some() {
            streak.took += run.took;
        }
        if streak.told.is_some() {
            return None;
        }
        if !streak.distinct.contains(&run.identity) {
            streak.distinct.push(run.identity);
        }
        if streak.distinct.len() < threshold || self.is_known_by_its_calls(at) {
            return None;
        }
        let streak = &mut self.all[at];
        streak.told = Some((streak.runs, streak.lost()));
        Some(at)
    }

    /// The streak of a statement, or of calls, of one method.
    fn position(&self, op: Option<&'static Op>, statement: Option<u64>) -> Option<usize> {
        self.all.iter().position(|streak| same(streak.op, op) && streak.statement == statement)
    }

    /// The method behind which `op` began to repeat itself; `op` if it does not.
    fn origin(&self, op: &'static Op) -> Option<&'static Op> {
        let repeated = self.all.iter().find(|streak| same(streak.op, Some(op)) && streak.distinct.len() > 1);
        match repeated {
            Some(streak) => streak.outer,
            None => Some(op),
        }
    }

    /// Whether the statement runs once for each call of a cached method, whose calls are counted themselves.
    fn is_known_by_its_calls(&self, at: usize) -> bool {
        let streak = &self.all[at];
        let calls = || self.position(streak.op, None).map(|calls| &self.all[calls]);
        streak.statement.is_some()
            && calls().is_some_and(|calls| calls.told.is_some() || calls.distinct.len() >= streak.distinct.len())
    }

    /// All that others were told of.
    pub(super) fn told(&self) -> impl Iterator<Item = &Streak> {
        self.all.iter().filter(|streak| streak.told.is_some())
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.first = None;
        self.all.clear();
        self.last = None;
    }
}

#[cfg(test)]
mod tests;
