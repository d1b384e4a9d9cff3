//! The knobs of migrations.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;

/// How migrations are run, and what is asked for before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What this database is to you: in `production` only what was validated on staging is applied. Default `development`.
    pub environment: Environment,
    /// The folder of the migrations, for the `dbopt` command. Default `migrations`.
    pub folder: String,
    /// How long a statement waits for a lock; others queue behind it for as long (`lock_timeout`). Default 2 s. Too low: a busy table is never
    /// caught free. Too high: readers and writers of that table stand still for so long.
    #[serde(with = "duration")]
    pub lock_timeout: Duration,
    /// How often a migration that got no lock is begun, with growing pauses. Default 30. Too low: it gives up on a busy table. Too high: a
    /// deployment hangs behind a reader that never ends.
    pub lock_attempts: u32,
    /// How long a statement may run inside a transaction (`statement_timeout`); zero is for ever. Default 15 min. Too low: big tables cannot be changed.
    /// Too high: what it locks stays locked. Statements that run alone (`CREATE INDEX CONCURRENTLY`) have no limit.
    #[serde(with = "duration")]
    pub statement_timeout: Duration,
    /// How long an instance waits for another one that is migrating. Default 10 min. Too low: the start of an instance fails while an index is
    /// built. Too high: it hangs.
    #[serde(with = "duration")]
    pub wait: Duration,
    /// The file in which `dbopt migrate validate` leaves its receipt. Default `dbopt-receipt.json`.
    pub receipt: String,
    /// How old a receipt may be when it is used. Default 1 day. Too low: a release in the afternoon validates again. Too high: staging and
    /// production have drifted apart meanwhile.
    #[serde(with = "duration")]
    pub receipt_age: Duration,
    /// How long to wait until the replicas have replayed the migrations; zero does not wait. Default 30 s. Too low: reads on replicas meet the schema
    /// before. Too high: a replica that is down holds the deployment up.
    #[serde(with = "duration")]
    pub replica_wait: Duration,
}

/// What a database is to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Anything may be tried.
    Development,
    /// Where migrations are validated.
    Staging,
    /// Only what has a fresh receipt is applied.
    Production,
}

impl Environment {
    /// Its name in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Environment::Development => "development",
            Environment::Staging => "staging",
            Environment::Production => "production",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            environment: Environment::Development,
            folder: "migrations".to_owned(),
            lock_timeout: Duration::from_secs(2),
            lock_attempts: 30,
            statement_timeout: Duration::from_secs(15 * 60),
            wait: Duration::from_secs(10 * 60),
            receipt: "dbopt-receipt.json".to_owned(),
            receipt_age: Duration::from_secs(24 * 3600),
            replica_wait: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Every contradiction, each with what to write instead.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.lock_timeout < Duration::from_millis(1) {
            found.push(format!(
                "schema.lock_timeout = {:?}: PostgreSQL would wait for ever, and everyone behind it; write a time such as \"2s\"",
                self.lock_timeout
            ));
        }
        if self.lock_attempts == 0 {
            found.push("schema.lock_attempts = 0: no migration could ever run; write 1 or more".into());
        }
        if !self.statement_timeout.is_zero() && self.statement_timeout <= self.lock_timeout {
            found.push(format!(
                "schema.statement_timeout = {:?} is not above schema.lock_timeout = {:?}: write a longer time, or \"0s\" for none",
                self.statement_timeout, self.lock_timeout
            ));
        }
        if self.folder.trim().is_empty() {
            found.push("schema.folder is empty: write the folder of your migrations, such as \"migrations\"".into());
        }
        if self.receipt.trim().is_empty() {
            found.push("schema.receipt is empty: write a file name such as \"dbopt-receipt.json\"".into());
        }
        if self.receipt_age.is_zero() {
            found.push(
                "schema.receipt_age = \"0s\": no receipt would ever be fresh; write a time such as \"1day\"".into(),
            );
        }
        found
    }
}
