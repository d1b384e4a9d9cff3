//! Ways back for migrations that have none, each proved before it is written.

use std::path::Path;

use dbopt_core::schema::catalog::Catalog;
use dbopt_core::schema::loss::losses;
use dbopt_core::schema::migration::{Direction, Migration};
use dbopt_core::schema::script::Script;
use tokio::sync::Mutex;

use super::error::Error;
use super::event::Event;
use super::migrator::Migrator;
use super::proof::Prover;
use super::scratch::Scratch;
use super::source;
use super::trace::Trace;

/// A way back that was derived.
#[derive(Debug, Clone)]
pub struct DerivedDown {
    /// The migration, with the new `down.sql` in it.
    pub migration: Migration,
    /// The new `down.sql`.
    pub sql: String,
    /// What it loses, in words.
    pub losses: Vec<String>,
    /// What is not as it was after it, or after going forward once more; nothing: it is proved.
    pub wrong: Vec<String>,
}

impl Migrator {
    /// Derives `down.sql` for the migrations that have none, or for those that are named, on a scratch database on the server of `staging`,
    /// or of the primary. Nothing is written.
    ///
    /// # Errors
    /// When there is no scratch database to be had, or a migration fails on it.
    pub async fn derive_downs(&self, named: &[String], staging: Option<&str>) -> Result<Vec<DerivedDown>, Error> {
        let mut wanted = Vec::new();
        for name in named {
            wanted.push(self.migrations.find(name)?.version.clone());
        }
        let is_wanted = |migration: &Migration| match named {
            [] => migration.down.is_none(),
            _ => wanted.contains(&migration.version),
        };
        let Some(last) = self.migrations.list().iter().rposition(is_wanted) else { return Ok(Vec::new()) };
        let scratch = Scratch::make(self.staging_url(staging).await?.as_str()).await?;
        let prover = Prover { scratch: &scratch, config: &self.config, trace: Mutex::new(Trace::default()) };
        let mut found = Vec::new();
        let mut failed = None;
        // What was there after one migration is what is there before the next.
        let mut known = None;
        for migration in &self.migrations.list()[..=last] {
            self.watch.tell(&Event::Checking { what: migration.name.clone() });
            match self.derive_one(&prover, migration, is_wanted(migration), &mut known).await {
                Ok(derived) => found.extend(derived),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(prover);
        scratch.end().await?;
        failed.map_or(Ok(found), Err)
    }

    async fn derive_one(
        &self,
        prover: &Prover<'_>,
        migration: &Migration,
        wanted: bool,
        known: &mut Option<Catalog>,
    ) -> Result<Option<DerivedDown>, Error> {
        let before = match known.take() {
            Some(known) => known,
            None if wanted => prover.catalog().await?,
            None => Catalog::default(),
        };
        prover.run(migration, Direction::Up, false).await?;
        if !wanted {
            return Ok(None);
        }
        let after = prover.catalog().await?;
        let derived = prover.derive(&before, &after).await?;
        let sql = derived.render(migration);
        let migration = Migration { down: Some(sql.clone()), ..migration.clone() };
        let mut wrong: Vec<String> =
            derived.remaining.iter().map(|what| format!("to be written by hand: {what}")).collect();
        // Whatever state it stopped in, the next one needs this one applied, and says so itself.
        let returned = prover.there_and_back(&migration, &before, &after).await?;
        wrong.extend(returned.wrong.into_iter().filter(|_| derived.is_complete()));
        if !wrong.is_empty() {
            self.watch.tell(&Event::Unproved { name: migration.name.clone(), wrong: wrong.clone() });
        }
        *known = returned.catalog;
        let losses = Script::parse(&sql).iter().flat_map(losses).map(|loss| loss.what).collect();
        Ok(Some(DerivedDown { migration, sql, losses, wrong }))
    }

    pub(super) async fn staging_url(&self, staging: Option<&str>) -> Result<String, Error> {
        match staging {
            Some(url) => Ok(url.to_owned()),
            None => self.target.primary_url().await,
        }
    }
}

impl DerivedDown {
    /// Writes `down.sql` into the folder of the migrations.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        source::write(folder, &self.migration, Direction::Down, &self.sql)
    }
}
