//! Which statements' plans are asked for next, and what was told. It decides; the runtime asks.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::fingerprint::Fingerprint;
use super::marks::Marks;
use super::plan::Plan;

/// How many wait to be asked for at most; others are asked for when they are slow, or later.
const WAITING: usize = 256;

/// So many tables are watched.
const TABLES: usize = 500;

/// A slow statement's plan is asked for again after this time.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// What is known of a fingerprint's plan.
#[derive(Debug, Default)]
pub(super) struct Known {
    plan: Option<Arc<Plan>>,
    failure: Option<String>,
    asked: Option<Instant>,
    /// When it was asked for the values of one run.
    asked_with: Option<Instant>,
    /// A table of it is not what it was.
    outdated: bool,
    changes: u64,
    waits: bool,
}

/// A statement whose plan is to be asked for.
#[derive(Debug, Clone)]
pub struct Question {
    pub(super) fingerprint: Arc<Fingerprint>,
}

impl Question {
    /// The statement.
    pub fn sql(&self) -> &str {
        self.fingerprint.sample.as_deref().unwrap_or_default()
    }

    /// The statement without its values.
    pub fn shown(&self) -> &str {
        self.fingerprint.text()
    }

    /// The name of its fingerprint.
    pub fn name(&self) -> String {
        format!("{:016x}", self.fingerprint.id())
    }

    /// How many placeholders it has.
    pub fn params(&self) -> u16 {
        self.fingerprint.shape.params
    }

    /// Their types, as far as they are known.
    pub fn types(&self) -> Vec<&'static str> {
        super::types::declared(self.fingerprint.types())
    }
}

/// A plan, as the status shows it.
#[derive(Debug, Clone, Serialize)]
pub struct PlanStatus {
    /// The same for plans that go the same way.
    pub hash: String,
    /// What it costs, as the planner estimates it.
    pub cost: f64,
    /// The node that costs most by itself, such as `Seq Scan on flights`.
    pub costly: String,
    /// What that node costs by itself.
    pub costly_cost: f64,
    /// Its conditions, without values.
    pub costly_conditions: Vec<String>,
    /// All nodes, one a line.
    pub lines: Vec<String>,
    /// How long ago it was told, in seconds.
    pub ago_seconds: f64,
    /// How often it went another way than before.
    pub changes: u64,
}

impl PlanStatus {
    pub(super) fn of(plan: &Plan) -> Option<PlanStatus> {
        let costly = plan.costly()?;
        Some(PlanStatus {
            hash: format!("{:016x}", plan.hash),
            cost: plan.cost(),
            costly: costly.name(),
            costly_cost: costly.own_cost,
            costly_conditions: costly.conditions.clone(),
            lines: plan.lines(),
            ago_seconds: 0.0,
            changes: 0,
        })
    }
}

fn is_recent(known: &Known) -> bool {
    !known.outdated && known.asked.is_some_and(|at| at.elapsed() < GOOD_FOR)
}

/// Which plans are asked for.
#[derive(Debug)]
pub(super) struct Plans {
    enabled: bool,
    age: Duration,
    waiting: Mutex<VecDeque<Arc<Fingerprint>>>,
    pub(super) news: Notify,
    asked: AtomicU64,
    failed: AtomicU64,
    marks: Mutex<Marks>,
}

impl Plans {
    pub(super) fn new(enabled: bool, age: Duration) -> Self {
        Plans {
            enabled,
            age,
            waiting: Mutex::default(),
            news: Notify::new(),
            asked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            marks: Mutex::default(),
        }
    }

    /// Wants the plan of a statement, once it is its turn.
    pub(super) fn want(&self, fingerprint: &Arc<Fingerprint>) {
        if !self.enabled || fingerprint.sample.is_none() || fingerprint.is_own() {
            return;
        }
        let mut waiting = self.waiting.lock();
        let mut known = fingerprint.plan.lock();
        if !known.waits && waiting.len() < WAITING {
            known.waits = true;
            waiting.push_back(fingerprint.clone());
            self.news.notify_one();
        }
    }

    pub(super) fn next(&self) -> Option<Question> {
        loop {
            let fingerprint = self.waiting.lock().pop_front()?;
            let mut known = fingerprint.plan.lock();
            known.waits = false;
            let asked_meanwhile = is_recent(&known);
            drop(known);
            if !asked_meanwhile {
                return Some(Question { fingerprint });
            }
        }
    }

    /// What is to be asked before a slow run is told of.
    pub(super) fn missing(&self, fingerprint: &Arc<Fingerprint>) -> Option<Question> {
        if !self.enabled || fingerprint.sample.is_none() || fingerprint.is_own() {
            return None;
        }
        let recent = is_recent(&fingerprint.plan.lock());
        (!recent).then(|| Question { fingerprint: fingerprint.clone() })
    }

    /// Whether the plan for the values of a slow run is to be asked for: once a minute for each statement.
    pub(super) fn wants_values(&self, fingerprint: &Fingerprint) -> bool {
        self.enabled && fingerprint.plan.lock().asked_with.is_none_or(|at| at.elapsed() >= GOOD_FOR)
    }

    /// The answer for the values of one run.
    pub(super) fn told_with(&self, fingerprint: &Fingerprint, told: &Result<Plan, String>) {
        fingerprint.plan.lock().asked_with = Some(Instant::now());
        self.asked.fetch_add(1, Ordering::Relaxed);
        if told.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether what is known is old, of a statement that is still run.
    pub(super) fn is_old(&self, fingerprint: &Fingerprint) -> bool {
        let known = fingerprint.plan.lock();
        known.outdated || known.asked.is_none_or(|at| at.elapsed() >= self.age)
    }

    /// The tables in the plans of these statements.
    pub(super) fn tables<'f>(&self, all: impl Iterator<Item = &'f Arc<Fingerprint>>) -> Vec<String> {
        let mut tables = BTreeSet::new();
        for fingerprint in all {
            if let Some(plan) = &fingerprint.plan.lock().plan {
                tables.extend(plan.tables().map(str::to_owned));
            }
        }
        self.marks.lock().keep(&tables);
        tables.into_iter().take(TABLES).collect()
    }

    /// Tables of a statement's plan that nobody has marked yet.
    pub(super) fn unmarked(&self, fingerprint: &Fingerprint) -> Vec<String> {
        let known = fingerprint.plan.lock();
        known.plan.iter().flat_map(|plan| self.marks.lock().unmarked(plan.tables())).collect()
    }

    /// Marks of tables; those of `all` whose plan uses one that has changed are out of date.
    pub(super) fn marked(
        &self,
        asked: &[String],
        told: Vec<(String, String)>,
        all: &[Arc<Fingerprint>],
    ) -> Vec<Arc<Fingerprint>> {
        let changed = self.marks.lock().take(asked, told);
        let uses = |fingerprint: &&Arc<Fingerprint>| {
            let mut known = fingerprint.plan.lock();
            let uses = known.plan.as_ref().is_some_and(|plan| plan.tables().any(|table| changed.contains(table)));
            known.outdated |= uses;
            uses
        };
        if changed.is_empty() { Vec::new() } else { all.iter().filter(uses).cloned().collect() }
    }

    /// The answer; gives the plan before if this one is worse.
    pub(super) fn told(&self, question: &Question, told: Result<Plan, String>) -> Option<(Arc<Plan>, Arc<Plan>)> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut known = question.fingerprint.plan.lock();
        (known.asked, known.outdated) = (Some(Instant::now()), false);
        match told {
            Ok(plan) => {
                let plan = Arc::new(plan);
                known.failure = None;
                let before = known.plan.replace(plan.clone())?;
                if before.hash != plan.hash {
                    known.changes += 1;
                }
                plan.is_worse_than(&before).then_some((before, plan))
            }
            Err(why) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                known.failure = Some(why);
                None
            }
        }
    }

    /// How many were asked for, and how many of these could not be told.
    pub(super) fn counts(&self) -> [u64; 2] {
        [self.asked.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed)]
    }

    /// What is known of a plan, or why nothing is.
    pub(super) fn status(&self, fingerprint: &Fingerprint) -> Result<PlanStatus, Option<String>> {
        let known = fingerprint.plan.lock();
        let Some(shown) = known.plan.as_ref().and_then(|plan| PlanStatus::of(plan)) else {
            let why = match &known.failure {
                Some(why) => Some(why.clone()),
                None if !self.enabled => Some("insight.plans is false".into()),
                None if fingerprint.sample.is_none() && fingerprint.kind().has_plan() => {
                    Some("it is too long, or one of several statements in a text".into())
                }
                None if !fingerprint.kind().has_plan() => None,
                None => Some("not asked for yet".into()),
            };
            return Err(why);
        };
        let ago_seconds = known.asked.map_or(0.0, |at| at.elapsed().as_secs_f64());
        Ok(PlanStatus { ago_seconds, changes: known.changes, ..shown })
    }
}
