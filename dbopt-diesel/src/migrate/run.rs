//! One script: in a transaction that also holds its line of the history, so that either all of it happened or nothing.

use std::time::Duration;

use dbopt_core::schema::Config;
use dbopt_core::schema::history::Outcome;
use dbopt_core::schema::migration::{Direction, Migration, Mode};
use dbopt_core::schema::script::{Script, Statement};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::backup::BackupCopy;
use super::error::{Doing, Error, Failure};
use super::event::{Event, Watch};
use super::store::{Note, Store};
use super::trace::Trace;
use super::{alone, lock};
use crate::connect::Session;

/// What a script is run with.
#[derive(Clone, Copy)]
pub(super) struct Runner<'a> {
    pub(super) session: &'a Session,
    pub(super) store: &'a Store,
    pub(super) config: &'a Config,
    pub(super) watch: &'a Watch,
    /// Writes down what each statement locks.
    pub(super) trace: Option<&'a Mutex<Trace>>,
}

/// A script to run.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) migration: &'a Migration,
    pub(super) direction: Direction,
    pub(super) receipt: Option<&'a str>,
    /// What is copied before, in the same transaction.
    pub(super) backup: &'a [BackupCopy],
}

pub(super) const NOTHING_LEFT: &str = "everything was rolled back: the database is as it was before this migration";

/// How an attempt ended, other than well.
enum Ended {
    /// A lock was not to be had in time.
    NoLock(Box<Failure>),
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Ended::Failed(error)
    }
}

impl Runner<'_> {
    /// Runs a script, again if it got no lock; how long the attempt took that succeeded.
    pub(super) async fn run(&self, step: Step<'_>) -> Result<Duration, Error> {
        let Step { migration, direction, .. } = step;
        let (script, mode) = migration.script(direction).map_err(|problem| Error::Source(vec![problem]))?;
        let (name, statements) = (migration.name.clone(), script.statements().len());
        self.watch.tell(&Event::Begun { name: name.clone(), direction, statements });
        let took = match mode {
            Mode::Transaction => {
                let took = self.until_locked(step, &script).await;
                if let Err(error) = &took {
                    self.note_failure(step, error).await;
                }
                took?
            }
            Mode::Alone(what) => alone::run(self, step, &script, &what).await?,
        };
        self.watch.tell(&Event::Done { name, direction, took });
        Ok(took)
    }

    async fn until_locked(&self, step: Step<'_>, script: &Script) -> Result<Duration, Error> {
        let (mut attempt, mut pause) = (1, Duration::from_millis(100));
        loop {
            let begun = Instant::now();
            match self.attempt(step, script, begun).await {
                Ok(()) => return Ok(begun.elapsed()),
                Err(Ended::Failed(error)) => return Err(error),
                Err(Ended::NoLock(failure)) if attempt >= self.config.lock_attempts => {
                    return Err(Error::Failed(failure));
                }
                Err(Ended::NoLock(failure)) => {
                    let message = failure.message.clone();
                    self.watch.tell(&Event::NoLock { attempt, pause, message });
                    sleep(pause).await;
                    (attempt, pause) = (attempt + 1, (pause * 2).min(Duration::from_secs(5)));
                }
            }
        }
    }

    async fn attempt(&self, step: Step<'_>, script: &Script, begun: Instant) -> Result<(), Ended> {
        let client = &self.session.client;
        client.batch_execute(&self.begin()).await.doing("begin a transaction")?;
        let done = self.inside(step, script, begun).await;
        if done.is_err() {
            // Fails only with the connection, and then the server does it.
            drop(client.batch_execute("ROLLBACK").await);
            return done;
        }
        let last = script.statements().last();
        client.batch_execute("COMMIT").await.map_err(|error| match (last, error.as_db_error()) {
            (Some(last), Some(_)) => self.ended(step, script, (script.statements().len(), last), &error),
            _ => Ended::Failed(Error::Database {
                doing: "learn how COMMIT ended (`dbopt migrate status` shows whether the migration is applied)",
                error,
            }),
        })
    }

    fn begin(&self) -> String {
        let Config { lock_timeout, statement_timeout, .. } = self.config;
        format!(
            "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}{}",
            lock_timeout.as_millis(),
            statement_timeout.as_millis(),
            self.store.notices_a_lost_client()
        )
    }

    async fn inside(&self, step: Step<'_>, script: &Script, begun: Instant) -> Result<(), Ended> {
        let Step { migration, direction, receipt, backup } = step;
        let client = &self.session.client;
        if !lock::is_ours(client).await? {
            return Err(Ended::Failed(Error::Pooler));
        }
        for copy in backup {
            copy.make(client).await?;
        }
        for (i, statement) in script.statements().enumerate() {
            self.watch.tell(&Event::Statement { nth: i + 1, summary: statement.summary() });
            let from = Instant::now();
            let done = client.batch_execute(statement.sql).await;
            done.map_err(|error| self.ended(step, script, (i + 1, statement), &error))?;
            if let Some(trace) = self.trace {
                trace.lock().await.look(client, &migration.file(direction), &statement, from.elapsed()).await?;
            }
        }
        // What the script has set is not for the history, nor for the next one.
        let reset = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL";
        client.batch_execute(reset).await.doing("reset the session")?;
        let note = Note { direction, outcome: outcome(direction), took: begun.elapsed(), receipt, error: None };
        self.store.set_version(client, &migration.version, direction).await?;
        self.store.note(client, migration, note).await?;
        Ok(())
    }

    fn ended(
        &self,
        step: Step<'_>,
        script: &Script,
        (nth, statement): (usize, Statement<'_>),
        error: &tokio_postgres::Error,
    ) -> Ended {
        let failure = failure(step, script, (nth, statement), error, NOTHING_LEFT);
        match failure.sqlstate.as_deref() {
            // A lock timeout, or a deadlock.
            Some("55P03" | "40P01") => Ended::NoLock(Box::new(failure)),
            _ => Ended::Failed(Error::Failed(Box::new(failure))),
        }
    }

    /// The history tells of failures, too; if it cannot be told, the error itself is what matters.
    async fn note_failure(&self, step: Step<'_>, error: &Error) {
        let Error::Failed(failure) = error else { return };
        let text = failure.to_string();
        let Step { migration, direction, receipt, .. } = step;
        let note = Note { direction, outcome: Outcome::Failed, took: Duration::ZERO, receipt, error: Some(&text) };
        if let Err(error) = self.store.note(&self.session.client, migration, note).await {
            tracing::debug!("the failure is not in the history: {error}");
        }
    }
}

pub(super) fn outcome(direction: Direction) -> Outcome {
    match direction {
        Direction::Up => Outcome::Applied,
        Direction::Down => Outcome::Reverted,
    }
}

/// The server's words with the place in the script.
pub(super) fn failure(
    step: Step<'_>,
    script: &Script,
    (nth, statement): (usize, Statement<'_>),
    error: &tokio_postgres::Error,
    state: &'static str,
) -> Failure {
    let db = error.as_db_error();
    let position = db.and_then(|db| match db.position() {
        Some(tokio_postgres::error::ErrorPosition::Original(position)) => Some(*position),
        _ => None,
    });
    let message = db.map_or_else(|| error.to_string(), |db| db.message().to_owned());
    let detail = db.and_then(|db| db.detail()).map(|detail| format!("{message}: {detail}"));
    Failure {
        file: step.migration.file(step.direction),
        line: position.map_or(statement.line, |position| statement.line_at(position)),
        statement: (nth, script.statements().len()),
        summary: statement.summary(),
        message: detail.unwrap_or(message),
        sqlstate: db.map(|db| db.code().code().to_owned()),
        hint: db.and_then(|db| db.hint()).map(str::to_owned),
        state,
    }
}
