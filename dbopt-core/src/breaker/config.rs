//! The knobs of circuits and retries.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::budget::BudgetPolicy;
use super::rules::Rules;
use super::state::Policy;
use crate::duration;

/// When a node is left alone for a while (R11).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether there are circuits at all. Default true. Without them every call asks a failing node again.
    pub enabled: bool,
    /// How far back failures are looked at. Default 60 s (11.2). Too low: a node that fails now and then never has enough failures
    /// together. Too high: what is long over decides.
    #[serde(with = "duration")]
    pub window: Duration,
    /// How many outcomes there must be before a circuit may open; so many failures in a row, with no success between them, open it whatever
    /// was before. Default 5. Too low: bad luck opens it. Too high: a lane with few calls is asked in vain for long.
    pub minimum: u32,
    /// The share of failures above which a circuit opens. Default 0.5 (11.2).
    pub failure_rate: f64,
    /// How long an open circuit refuses before one test connection is made. Default 30 s (11.4); up to a tenth is added, so that instances
    /// do not test together. Too low: a node that is down is asked in vain. Too high: one that is back stays unused, unless the monitor sees it.
    #[serde(with = "duration")]
    pub open: Duration,
    /// The longest time between test connections: `open` doubles with each failed one up to this. Default 2 min.
    #[serde(with = "duration")]
    pub open_max: Duration,
    /// A call that takes longer counts as a failure of its node. Default "0s": no call does. Too low: slow statements of your own close a healthy
    /// node off; set it well above the slowest statement.
    #[serde(with = "duration")]
    pub slow_call: Duration,
    /// SQLSTATEs (`"58030"`) or classes (`"XX"`) that count as failures of the node besides those that do by themselves. Default none.
    pub count: Vec<String>,
    /// SQLSTATEs or classes that do not count although they would. Default none. A full code wins over a class.
    pub ignore: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            window: Duration::from_secs(60),
            minimum: 5,
            failure_rate: 0.5,
            open: Duration::from_secs(30),
            open_max: Duration::from_secs(120),
            slow_call: Duration::ZERO,
            count: Vec::new(),
            ignore: Vec::new(),
        }
    }
}

impl Config {
    /// Every contradiction, each with what to write instead.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.window < Duration::from_millis(100) {
            found.push(format!("breaker.window = {:?}: write at least \"100ms\", \"60s\" is usual", self.window));
        }
        if self.minimum < 2 {
            found.push(format!(
                "breaker.minimum = {}: one failure alone would be all of the outcomes; write at least 2, such as 5",
                self.minimum
            ));
        }
        if !(0.05..1.0).contains(&self.failure_rate) {
            found.push(format!(
                "breaker.failure_rate = {}: write a share from 0.05 to below 1.0, such as 0.5",
                self.failure_rate
            ));
        }
        if self.open.is_zero() {
            found.push("breaker.open = \"0s\": an open circuit would refuse nobody; write a time such as \"30s\", or breaker.enabled = false".into());
        }
        if self.open > self.open_max {
            found.push(format!(
                "breaker.open = {:?} is more than breaker.open_max = {:?}: swap them, or raise open_max",
                self.open, self.open_max
            ));
        }
        if let Err(problems) = Rules::new(&self.count, &self.ignore) {
            found.extend(problems);
        }
        found
    }

    pub(super) fn policy(&self) -> Policy {
        Policy {
            window: self.window,
            minimum: self.minimum,
            failure_rate: self.failure_rate,
            open: self.open,
            open_max: self.open_max,
        }
    }
}

/// How often a call that found no connection tries again (R11).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// How often a call looks for a connection again where every node that could serve it failed. Default 3 (11.1); 0: never. Too low: a restart of
    /// the primary reaches the callers. Too high: they wait for a node that is gone.
    pub attempts: u32,
    /// The wait before the first of them; it doubles with each further one (1, 2, 4 s), and half to all of it is waited. Default 1 s (11.1).
    #[serde(with = "duration")]
    pub initial: Duration,
    /// How many retries there may be as a share of all calls: of connecting, and of bodies run again. Default 0.1. Too low: a lost node reaches
    /// callers. Too high: retries are a second load in the worst moment.
    pub budget: f64,
    /// How many retries per second there may be in any case. Default 10.
    pub floor: u32,
}

impl Default for RetryConfig {
    fn default() -> Self {
        RetryConfig { attempts: 3, initial: Duration::from_secs(1), budget: 0.1, floor: 10 }
    }
}

impl RetryConfig {
    /// Every contradiction, each with what to write instead.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.attempts > 10 {
            found.push(format!("retry.attempts = {}: write 0 (never) to 10", self.attempts));
        }
        if self.initial.is_zero() {
            found
                .push("retry.initial = \"0s\": all attempts would be made at once; write a time such as \"1s\"".into());
        }
        if !(0.0..=1.0).contains(&self.budget) {
            found.push(format!("retry.budget = {}: write a share from 0.0 to 1.0, such as 0.1", self.budget));
        }
        found
    }

    /// What the budget is made of.
    pub fn budget_policy(&self) -> BudgetPolicy {
        BudgetPolicy { share: self.budget, per_second: f64::from(self.floor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_requirement() {
        let config = Config::default();
        assert!(config.problems().is_empty() && RetryConfig::default().problems().is_empty());
        assert_eq!((config.window.as_secs(), config.open.as_secs(), config.failure_rate), (60, 30, 0.5));
    }

    #[test]
    fn every_contradiction_names_its_key_and_the_remedy() {
        let config = Config {
            window: Duration::ZERO,
            minimum: 1,
            failure_rate: 1.0,
            open: Duration::from_secs(300),
            count: vec!["5330".into()],
            ..Config::default()
        };
        let text = config.problems().join("\n");
        for part in
            ["breaker.window", "breaker.minimum = 1", "breaker.failure_rate = 1", "breaker.open = 300s", "\"5330\""]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        let retry = RetryConfig { attempts: 11, initial: Duration::ZERO, budget: 1.5, floor: 0 };
        assert_eq!(retry.problems().len(), 3);
    }
}
