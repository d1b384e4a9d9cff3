//! What is news: an alert begins once, and ends once. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::rule::Rule;

/// A rule, and what of it: the node, for those that are judged node by node.
pub type Key = (Rule, Option<Arc<str>>);

/// What a rule says at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is beyond the limit.
    Bad,
    /// It is better than that, but not yet as it should be, or nobody can tell: an alert stays, and none begins.
    Between,
    /// It is as it should be.
    Good,
}

/// What a rule says of one thing.
#[derive(Debug, Clone)]
pub struct Condition {
    /// The rule, and what of it.
    pub key: Key,
    /// What it says.
    pub verdict: Verdict,
    /// The figure behind that, where there is one.
    pub value: Option<f64>,
    /// The same in words.
    pub summary: String,
}

/// The times of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long it must be bad before that is an alert.
    pub lasting: Duration,
    /// How long it must be good before that is the end of one.
    pub hold: Duration,
    /// How long it may be better in between and still count as bad all along, so that what comes and goes is noticed too.
    pub gap: Duration,
}

/// That an alert began or ended.
#[derive(Debug, Clone)]
pub struct Change {
    /// The rule, and what of it.
    pub key: Key,
    /// Whether it began; otherwise it ended.
    pub began: bool,
    /// The figure, where there is one.
    pub value: Option<f64>,
    /// What happened, in words.
    pub summary: String,
    /// How long it has been bad.
    pub lasted: Duration,
}

/// An alert that lasts.
#[derive(Debug, Clone)]
pub struct Active {
    /// Since when it is bad.
    pub since: Instant,
    /// The latest figure, where there is one.
    pub value: Option<f64>,
    /// What is wrong, in words.
    pub summary: String,
    good_since: Option<Instant>,
}

#[derive(Debug, Clone)]
enum Phase {
    Pending { since: Instant, last_bad: Instant },
    Firing(Active),
}

/// Everything that is, or may become, an alert.
#[derive(Debug, Default)]
pub struct Alerts(BTreeMap<Key, Phase>);

impl Alerts {
    /// What is news at `now`. A key that no condition names any more counts as good.
    pub fn step(&mut self, conditions: &[Condition], timing: impl Fn(Rule) -> Timing, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        for condition in conditions {
            changes.extend(self.apply(condition, timing(condition.key.0), now));
        }
        let gone: Vec<Key> = self.0.keys().filter(|key| !conditions.iter().any(|c| c.key == **key)).cloned().collect();
        for key in gone {
            let timing = timing(key.0);
            let summary = "it is over".to_owned();
            changes.extend(self.apply(&Condition { key, verdict: Verdict::Good, value: None, summary }, timing, now));
        }
        changes
    }

    fn apply(&mut self, condition: &Condition, timing: Timing, now: Instant) -> Option<Change> {
        let Condition { key, verdict, value, summary } = condition;
        let change = |began, since: Instant| Change {
            key: key.clone(),
            began,
            value: *value,
            summary: summary.clone(),
            lasted: now.saturating_duration_since(since),
        };
        let firing = |since| Phase::Firing(Active { since, value: *value, summary: summary.clone(), good_since: None });
        match (self.0.get_mut(key), verdict) {
            (None, Verdict::Bad) if timing.lasting.is_zero() => {
                self.0.insert(key.clone(), firing(now));
                Some(change(true, now))
            }
            (None, Verdict::Bad) => {
                self.0.insert(key.clone(), Phase::Pending { since: now, last_bad: now });
                None
            }
            (None, _) => None,
            (Some(Phase::Pending { since, last_bad }), Verdict::Bad) => {
                *last_bad = now;
                let since = *since;
                if now.saturating_duration_since(since) < timing.lasting {
                    return None;
                }
                self.0.insert(key.clone(), firing(since));
                Some(change(true, since))
            }
            (Some(Phase::Pending { last_bad, .. }), _) => {
                if now.saturating_duration_since(*last_bad) > timing.gap {
                    self.0.remove(key);
                }
                None
            }
            (Some(Phase::Firing(active)), Verdict::Good) => {
                let good_since = *active.good_since.get_or_insert(now);
                if now.saturating_duration_since(good_since) < timing.hold {
                    return None;
                }
                let since = active.since;
                self.0.remove(key);
                Some(change(false, since))
            }
            (Some(Phase::Firing(active)), _) => {
                active.good_since = None;
                (active.value, active.summary) = (*value, summary.clone());
                None
            }
        }
    }

    /// Every alert that lasts.
    pub fn active(&self) -> impl Iterator<Item = (&Key, &Active)> {
        self.0.iter().filter_map(|(key, phase)| match phase {
            Phase::Firing(active) => Some((key, active)),
            Phase::Pending { .. } => None,
        })
    }

    /// Ends the alerts that `which` picks, whatever their rules say.
    pub fn end(&mut self, which: impl Fn(Rule) -> bool, why: &str, now: Instant) -> Vec<Change> {
        let at_once = Timing { lasting: Duration::ZERO, hold: Duration::ZERO, gap: Duration::ZERO };
        let keys: Vec<Key> = self.active().map(|(key, _)| key.clone()).filter(|key| which(key.0)).collect();
        keys.into_iter()
            .filter_map(|key| {
                let good = Condition { key, verdict: Verdict::Good, value: None, summary: why.to_owned() };
                self.apply(&good, at_once, now)
            })
            .collect()
    }
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;
