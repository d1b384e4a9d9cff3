//! The limits' state, for people and programs. No user is named.

use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use super::desk::Outcome;
use super::limiter::Limiter;
use crate::rate::{Rates, Scope};

/// What the limits did so far.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LimitStatus {
    /// `not configured`, `up` or `down`.
    pub redis: &'static str,
    /// Instances that share the limits, as far as this one knows.
    pub instances: usize,
    /// Every limit that was used.
    pub limits: Vec<OneLimit>,
    /// Checks by method and scope.
    pub methods: Vec<MethodChecks>,
    /// Questions to Redis.
    pub asked: u64,
    /// Commands that they went in.
    pub batches: u64,
    /// Questions that Redis did not answer in time.
    pub failed: u64,
    /// Permits fetched ahead.
    pub leased: u64,
    /// Permits that were not used in time.
    pub expired: u64,
    /// Permits given back to Redis.
    pub returned: u64,
}

/// One limit.
#[derive(Debug, Clone, Serialize)]
pub struct OneLimit {
    /// Its name.
    pub name: String,
    /// Who is limited together.
    pub scope: Scope,
    /// Its windows.
    pub rates: Rates,
    /// Callers that are told apart.
    pub callers: usize,
}

/// The checks of one method in one scope.
#[derive(Debug, Clone, Serialize)]
pub struct MethodChecks {
    /// The method.
    pub method: &'static str,
    /// Who is limited together.
    pub scope: Scope,
    /// Within the limit.
    pub admitted: u64,
    /// Above it.
    pub refused: u64,
    /// Not refused, as an administrator asked.
    pub bypassed: u64,
    /// Admitted without Redis.
    pub degraded: u64,
}

impl Limiter {
    /// What the limits did so far.
    pub fn status(&self) -> LimitStatus {
        let mut methods: Vec<MethodChecks> = Vec::new();
        for (method, scope, outcome, count) in self.registry.counts() {
            if methods.last().is_none_or(|last| last.method != method || last.scope != scope) {
                methods.push(MethodChecks { method, scope, admitted: 0, refused: 0, bypassed: 0, degraded: 0 });
            }
            if let Some(last) = methods.last_mut() {
                match outcome {
                    Outcome::Admitted => last.admitted += count,
                    Outcome::Refused => last.refused += count,
                    Outcome::Bypassed => last.bypassed += count,
                    Outcome::Degraded => last.degraded += count,
                }
            }
        }
        let budgets = self.all_budgets();
        let limits = budgets.iter().map(|budget| OneLimit {
            name: budget.name.to_string(),
            scope: budget.scope,
            rates: budget.limit.rates.clone(),
            callers: budget.tracked(),
        });
        let mut status = LimitStatus {
            redis: "not configured",
            instances: 1,
            limits: limits.collect(),
            methods,
            expired: self.expired.load(Relaxed),
            ..LimitStatus::default()
        };
        if let Some(store) = &self.store {
            let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
            status.redis = if store.is_usable() { "up" } else { "down" };
            status.instances = store.instances();
            status.asked = read(&store.counts.asked);
            status.batches = read(&store.counts.batches);
            status.failed = read(&store.counts.failed);
            status.leased = read(&store.counts.leased);
            status.returned = read(&store.counts.returned);
        }
        status
    }
}
