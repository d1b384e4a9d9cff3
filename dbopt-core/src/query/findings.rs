//! What was found to be repeated, over all contexts: kept for the status, told to the log, counted.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::advice;
use super::fingerprint::Fingerprint;
use super::streaks::Streak;
use crate::op::Op;

/// How many are kept.
const KEPT: usize = 100;

/// One finding is logged at most once in this time.
const QUIET: Duration = Duration::from_secs(10);

/// A method that repeats itself within a context.
#[derive(Debug, Clone)]
pub struct Finding {
    op: Option<&'static Op>,
    fingerprint: Option<Arc<Fingerprint>>,
    outer: Option<&'static Op>,
    runs: u64,
    hits: u64,
    lost: Duration,
}

impl Finding {
    pub(super) fn of(streak: &Streak) -> Self {
        Finding {
            op: streak.op,
            fingerprint: streak.fingerprint.clone(),
            outer: streak.outer,
            runs: streak.runs,
            hits: streak.hits(),
            lost: streak.lost(),
        }
    }

    /// The method that repeats itself.
    pub fn method(&self) -> &'static str {
        self.op.map_or("(no method)", Op::name)
    }

    /// The method that ran before it began, if there was one.
    pub fn outer(&self) -> Option<&'static str> {
        self.outer.map(Op::name)
    }

    /// The statement, without its values; none where calls of a cached method were counted.
    pub fn sql(&self) -> Option<&str> {
        self.fingerprint.as_ref().map(|fingerprint| &**fingerprint.text())
    }

    /// How often.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// How many of them the cache answered.
    pub fn from_cache(&self) -> u64 {
        self.hits
    }

    /// What one run for all would have saved, about.
    pub fn lost(&self) -> Duration {
        self.lost
    }

    /// What to write instead.
    pub fn instead(&self) -> String {
        advice::batch(self.op, self.fingerprint.as_deref())
    }

    fn is_same(&self, other: &Finding) -> bool {
        let ops = |one: Option<&'static Op>, two: Option<&'static Op>| one.map(Op::id) == two.map(Op::id);
        let id = |finding: &Finding| finding.fingerprint.as_ref().map(|fingerprint| fingerprint.id());
        ops(self.op, other.op) && ops(self.outer, other.outer) && id(self) == id(other)
    }
}

/// `src/flights.rs:12`.
pub(super) fn place(op: Option<&'static Op>) -> Option<String> {
    op.and_then(Op::location).map(|at| format!("{}:{}", at.file, at.line))
}

fn named(op: &'static Op) -> String {
    match place(Some(op)) {
        Some(place) => format!("{} ({place})", op.name()),
        None => op.name().to_owned(),
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.op.map_or_else(|| self.method().to_owned(), named);
        match &self.fingerprint {
            Some(_) => write!(f, "N+1: {method} ran one statement {} times with different values", self.runs)?,
            None => write!(f, "N+1: {method} was called {} times with different arguments", self.runs)?,
        }
        if self.hits > 0 {
            write!(f, " ({} answered by the cache)", self.hits)?;
        }
        if let Some(outer) = self.outer {
            write!(f, " after {}", named(outer))?;
        }
        write!(f, "; one run for all would have saved about {:.1} ms", self.lost.as_secs_f64() * 1e3)?;
        match self.sql() {
            Some(sql) => write!(f, ": {sql}\ninstead: {}", self.instead()),
            None => write!(f, "\ninstead: {}", self.instead()),
        }
    }
}

/// A method that repeats itself, over all contexts.
#[derive(Debug, Clone, Serialize)]
pub struct Repeated {
    /// The method that ran before the repetition began.
    pub outer: Option<&'static str>,
    /// Where that stands.
    pub outer_at: Option<String>,
    /// The method that repeats itself.
    pub method: &'static str,
    /// Where it stands.
    pub at: Option<String>,
    /// The fingerprint of the statement; absent where calls of a cached method were counted.
    pub fingerprint: Option<String>,
    /// The statement without its values.
    pub sql: Option<Arc<str>>,
    /// In how many contexts.
    pub contexts: u64,
    /// How often in all of them.
    pub runs: u64,
    /// How many of the runs the cache answered.
    pub from_cache: u64,
    /// How often in one of them at most.
    pub most: u64,
    /// What one run for all would have saved, in milliseconds, in all contexts: an estimate.
    pub lost_ms: f64,
    /// How long ago it was seen last, in seconds.
    pub ago_seconds: f64,
    /// What to write instead.
    pub instead: String,
}

#[derive(Debug)]
struct Entry {
    finding: Finding,
    contexts: u64,
    most: u64,
    seen: Instant,
    logged: Option<Instant>,
}

/// All findings.
#[derive(Debug, Default)]
pub(super) struct Findings {
    all: Mutex<Vec<Entry>>,
    /// By method: in how many contexts.
    counts: Mutex<HashMap<&'static str, u64>>,
    /// Those that nobody has been told of yet.
    news: Mutex<Vec<Finding>>,
}

impl Findings {
    /// A context repeats itself.
    pub(super) fn begins(&self, finding: &Finding) {
        *self.counts.lock().entry(finding.method()).or_default() += 1;
        let mut all = self.all.lock();
        let now = Instant::now();
        if let Some(known) = all.iter_mut().find(|entry| entry.finding.is_same(finding)) {
            known.add(finding, (0, Duration::ZERO), now);
            known.contexts += 1;
            return;
        }
        if all.len() >= KEPT
            && let Some(oldest) = (0..all.len()).min_by_key(|&i| all[i].seen)
        {
            all.swap_remove(oldest);
        }
        all.push(Entry { finding: finding.clone(), contexts: 1, most: finding.runs, seen: now, logged: None });
        let mut news = self.news.lock();
        if news.len() < KEPT {
            news.push(finding.clone());
        }
    }

    /// It has ended; `told` is what is known of it already.
    pub(super) fn ended(&self, finding: &Finding, told: (u64, Duration)) {
        let now = Instant::now();
        let mut all = self.all.lock();
        let Some(known) = all.iter_mut().find(|entry| entry.finding.is_same(finding)) else { return };
        known.add(finding, told, now);
        if known.logged.is_some_and(|at| now.duration_since(at) < QUIET) {
            return;
        }
        known.logged = Some(now);
        drop(all);
        tracing::warn!(
            target: "dbopt::n_plus_one",
            method = finding.method(),
            outer = finding.outer(),
            runs = finding.runs,
            from_cache = finding.hits,
            lost_ms = finding.lost.as_secs_f64() * 1e3,
            "{finding}"
        );
    }

    /// Those that are new since the last question.
    pub(super) fn take_news(&self) -> Vec<Finding> {
        std::mem::take(&mut self.news.lock())
    }

    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let mut counts: Vec<_> = self.counts.lock().iter().map(|(method, count)| (*method, *count)).collect();
        counts.sort_unstable();
        counts
    }

    /// The most expensive first.
    pub(super) fn status(&self) -> Vec<Repeated> {
        let mut all: Vec<Repeated> = self.all.lock().iter().map(Entry::status).collect();
        all.sort_by(|one, other| other.lost_ms.total_cmp(&one.lost_ms));
        all
    }
}

impl Entry {
    fn add(&mut self, finding: &Finding, (runs, lost): (u64, Duration), now: Instant) {
        self.finding.runs += finding.runs.saturating_sub(runs);
        self.finding.lost += finding.lost.saturating_sub(lost);
        self.finding.hits += if runs > 0 { finding.hits } else { 0 };
        self.most = self.most.max(finding.runs);
        self.seen = now;
    }

    fn status(&self) -> Repeated {
        let finding = &self.finding;
        Repeated {
            outer: finding.outer(),
            outer_at: place(finding.outer),
            method: finding.method(),
            at: place(finding.op),
            fingerprint: finding.fingerprint.as_ref().map(|fingerprint| format!("{:016x}", fingerprint.id())),
            sql: finding.fingerprint.as_ref().map(|fingerprint| fingerprint.text().clone()),
            contexts: self.contexts,
            runs: finding.runs,
            from_cache: finding.hits,
            most: self.most,
            lost_ms: finding.lost.as_secs_f64() * 1e3,
            ago_seconds: self.seen.elapsed().as_secs_f64(),
            instead: finding.instead(),
        }
    }
}
