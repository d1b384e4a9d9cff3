//! A migration on a scratch database: forward, back and forward again, with the catalog compared each time.

use std::time::Duration;

use dbopt_core::schema::Config;
use dbopt_core::schema::catalog::{Catalog, Derived};
use dbopt_core::schema::migration::{Direction, Migration};
use tokio::sync::Mutex;

use super::derive::derive;
use super::error::Error;
use super::event::Watch;
use super::run::{Runner, Step};
use super::scratch::Scratch;
use super::trace::Trace;

/// Runs scripts on a scratch database.
pub(super) struct Prover<'a> {
    pub(super) scratch: &'a Scratch,
    pub(super) config: &'a Config,
    pub(super) trace: Mutex<Trace>,
}

impl Prover<'_> {
    pub(super) async fn run(
        &self,
        migration: &Migration,
        direction: Direction,
        traced: bool,
    ) -> Result<Duration, Error> {
        let Scratch { session, store, .. } = self.scratch;
        if traced {
            self.trace.lock().await.begin(&session.client).await?;
        }
        let trace = traced.then_some(&self.trace);
        let runner = Runner { session, store, config: self.config, watch: &Watch::default(), trace };
        runner.run(Step { migration, direction, receipt: None, backup: &[] }).await
    }

    pub(super) async fn catalog(&self) -> Result<Catalog, Error> {
        self.scratch.reader.read(&self.scratch.session.client).await
    }

    /// Derives the way back of a migration that has just run.
    pub(super) async fn derive(&self, before: &Catalog, after: &Catalog) -> Result<Derived, Error> {
        derive(&self.scratch.session.client, &self.scratch.reader, before, after).await
    }

    /// Back and forward again.
    pub(super) async fn there_and_back(
        &self,
        migration: &Migration,
        before: &Catalog,
        after: &Catalog,
    ) -> Result<Returned, Error> {
        let mut wrong = Vec::new();
        match self.run(migration, Direction::Down, false).await {
            Ok(_) => {}
            Err(error @ (Error::Failed(_) | Error::Source(_))) => {
                return Ok(Returned { wrong: vec![error.to_string()], is_applied: true, catalog: None });
            }
            Err(error) => return Err(error),
        }
        let file = migration.file(Direction::Down);
        let back = self.catalog().await?;
        wrong.extend(before.differences(&back).into_iter().map(|what| format!("after {file}: {what}")));
        match self.run(migration, Direction::Up, false).await {
            Ok(_) => {}
            Err(error @ Error::Failed(_)) => {
                wrong.push(format!("after {file} it cannot go forward again: {error}"));
                return Ok(Returned { wrong, is_applied: false, catalog: None });
            }
            Err(error) => return Err(error),
        }
        let again = self.catalog().await?;
        let file = migration.file(Direction::Up);
        wrong.extend(after.differences(&again).into_iter().map(|what| format!("after {file} once more: {what}")));
        Ok(Returned { wrong, is_applied: true, catalog: Some(again) })
    }
}

/// How a way there and back has ended.
pub(super) struct Returned {
    /// What is not as it was, in words.
    pub(super) wrong: Vec<String>,
    /// Whether the migration is applied now, so that others can follow.
    pub(super) is_applied: bool,
    /// What is there now; objects that were made again have other numbers than before.
    pub(super) catalog: Option<Catalog>,
}
