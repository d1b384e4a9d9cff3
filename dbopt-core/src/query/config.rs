//! What is kept of statements, and what is said about them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;

/// What is kept of statements, and what is said about them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether statements are watched at all. Default true. Without it there are no statistics, no slow log, no plans and no N+1.
    pub enabled: bool,
    /// A statement that takes this long is slow: it is logged, with its plan. Default 100 ms (R1.2). Too low: the log is noise, and planning
    /// costs the servers more. Too high: what users wait for is not seen.
    #[serde(with = "duration")]
    pub slow: Duration,
    /// How many slow statements are logged in a second at most; the others are counted, and their number is in the next record.
    /// Default 10. Too low: of several slow statements only one is seen. Too high: a storm fills the log.
    pub slow_per_second: u32,
    /// A file to which slow statements are written besides, as lines of JSON: a path. Default none. Each instance needs one of its own.
    pub slow_file: String,
    /// How large that file becomes before it is put away and another one is begun, in bytes. Default 16 MiB. Too low: little is kept. Too high: disk.
    pub slow_file_bytes: u64,
    /// How many earlier ones are kept beside it, as `.1` (the newest), `.2`, .. Default 4. Too low: little is kept. Too high: disk.
    pub slow_files_kept: u32,
    /// How many fingerprints are kept. Default 1000; about 2 KiB each, and 8 KiB more for a long text. When there is no place, what was not run
    /// for a minute makes some, and else counts as `(other)`. Too low: much is `(other)`. Too high: memory.
    pub fingerprints: usize,
    /// How often one method may run one statement with different values within a context before it is called N+1. Default 5; 0 never
    /// says so. Too low: what is two or three of by design is reported. Too high: short lists hide it.
    pub n_plus_one: u32,
    /// Whether the planner is asked how it runs each statement, on a connection of dbopt's own. Default true. Without it slow records have no plan.
    pub plans: bool,
    /// How many plans are asked for in a minute at most, by one instance. Default 60. Too low: plans are late after a start. Too high: work
    /// for the servers.
    pub plans_per_minute: u32,
    /// How old a plan becomes before it is asked for again; that of a slow statement is after a minute. Default 1 h. Too low: work for the servers. Too
    /// high: a plan that changed for the worse is noticed late.
    #[serde(with = "duration")]
    pub plan_age: Duration,
    /// How often it is looked whether statistics or schema of the tables in plans have changed, so that these are asked for again: one question to the catalog.
    /// Default 1 min; 0 never looks. Too low: work for the servers. Too high: a plan that changed after a migration or an ANALYZE is noticed late.
    #[serde(with = "duration")]
    pub plan_watch: Duration,
    /// How often it is looked which indexes the statements of this instance miss, on a connection of its own to the primary, which changes nothing. Default
    /// 6 h, each time a quarter earlier or later; the first time some minutes after the start. 0: never. Needs the feature `advise`. Too low: work for the
    /// primary. Too high: what a new version of the application needs is seen late.
    #[serde(with = "duration")]
    pub index_advice: Duration,
    /// Whether slow records and the log may hold bound values. Default false: types only. Values may be personal.
    pub values: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            slow: Duration::from_millis(100),
            slow_per_second: 10,
            slow_file: String::new(),
            slow_file_bytes: 16 << 20,
            slow_files_kept: 4,
            fingerprints: 1000,
            n_plus_one: 5,
            plans: true,
            plans_per_minute: 60,
            plan_age: Duration::from_secs(3600),
            plan_watch: Duration::from_secs(60),
            index_advice: Duration::from_secs(6 * 3600),
            values: false,
        }
    }
}

impl Config {
    /// Every contradiction, each with what to write instead.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.slow.is_zero() {
            found.push("insight.slow = \"0s\": every statement would be slow; write a time such as \"100ms\"".into());
        }
        if !(1..=1000).contains(&self.slow_per_second) {
            found.push(format!("insight.slow_per_second = {}: write 1 to 1000, 10 is usual", self.slow_per_second));
        }
        if self.slow_file_bytes < 64 << 10 {
            found.push(format!(
                "insight.slow_file_bytes = {}: write 65536 or more, 16777216 is usual",
                self.slow_file_bytes
            ));
        }
        if !(1..=1000).contains(&self.slow_files_kept) {
            found.push(format!("insight.slow_files_kept = {}: write 1 to 1000, 4 is usual", self.slow_files_kept));
        }
        if !(10..=100_000).contains(&self.fingerprints) {
            found.push(format!("insight.fingerprints = {}: write 10 to 100000, 1000 is usual", self.fingerprints));
        }
        if !(1..=6000).contains(&self.plans_per_minute) {
            found.push(format!(
                "insight.plans_per_minute = {}: write 1 to 6000, 60 is usual, or insight.plans = false",
                self.plans_per_minute
            ));
        }
        if self.plan_age < Duration::from_secs(60) {
            found.push(format!("insight.plan_age = {:?}: write \"1m\" or more, \"1h\" is usual", self.plan_age));
        }
        if !self.plan_watch.is_zero() && self.plan_watch < Duration::from_secs(1) {
            found.push(format!(
                "insight.plan_watch = {:?}: write \"1s\" or more, \"1m\" is usual, or \"0s\" for never",
                self.plan_watch
            ));
        }
        if !self.index_advice.is_zero() && self.index_advice < Duration::from_secs(60) {
            found.push(format!(
                "insight.index_advice = {:?}: write \"1m\" or more, \"6h\" is usual, or \"0s\" for never",
                self.index_advice
            ));
        }
        if self.n_plus_one == 1 || self.n_plus_one > 64 {
            found.push(format!(
                "insight.n_plus_one = {}: write 2 to 64, 5 is usual, or 0 to hear nothing of it",
                self.n_plus_one
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_say_what_to_write() {
        assert!(Config::default().problems().is_empty());
        let wrong = Config {
            slow: Duration::ZERO,
            slow_per_second: 0,
            slow_file_bytes: 1,
            slow_files_kept: 0,
            fingerprints: 1,
            n_plus_one: 1,
            plan_watch: Duration::from_millis(1),
            index_advice: Duration::from_secs(1),
            ..Config::default()
        };
        let text = wrong.problems().join("\n");
        for part in [
            "insight.slow =",
            "insight.slow_per_second = 0",
            "insight.slow_file_bytes = 1",
            "insight.slow_files_kept = 0",
            "insight.fingerprints = 1",
            "insight.n_plus_one = 1",
            "insight.plan_watch = 1ms",
            "insight.index_advice = 1s",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
