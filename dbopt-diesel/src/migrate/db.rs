//! Migrations at the start of an application.

use diesel::migration::MigrationSource;
use diesel::pg::Pg;

use super::belief::Belief;
use super::error::Error;
use super::migrator::Migrator;
use super::options::{Forward, Report};
use super::source::Migrations;
use crate::Db;

impl Db {
    /// Applies the migrations of `source` that the primary has not seen; `&embed_migrations!(..)` is such a source.
    ///
    /// However many instances start at once, each migration is applied once; the others wait for it, up to `schema.wait`. Versions that a
    /// later release has applied are left alone. Connections of the pools are renewed afterwards, and replicas waited for.
    ///
    /// # Errors
    /// As for [`Migrator::up`]; and when no primary is known.
    ///
    /// # Cancel safety
    /// As for [`Migrator::up`].
    pub async fn migrate(&self, source: &impl MigrationSource<Pg>) -> Result<Report, Error> {
        let migrations = Migrations::from_source(source)?;
        self.migrate_with(migrations, &Forward { newer_is_fine: true, ..Forward::default() }).await
    }

    /// The same for migrations that were read before, such as those of a folder, and as far as `forward` says.
    ///
    /// # Errors
    /// As for [`Db::migrate`].
    ///
    /// # Cancel safety
    /// As for [`Migrator::up`].
    pub async fn migrate_with(&self, migrations: Migrations, forward: &Forward) -> Result<Report, Error> {
        let runtime = self.runtime();
        let topology = runtime.cluster().topology();
        let primary = topology.primary.map(|primary| topology.nodes[primary].name.clone());
        let Some(primary) = primary else {
            return Err(Error::NoPrimary("the cluster has none at the moment".to_owned()));
        };
        let mut migrator = Migrator::on(runtime.config(), migrations, Some(&primary))?;
        let db = self.clone();
        migrator.belief = Belief::asking(move || {
            let topology = db.runtime().cluster().topology();
            let now = &topology.nodes[topology.primary?].name;
            (*now != primary).then(|| format!("the cluster has had a failover, from {primary} to {now}"))
        });
        let done = migrator.up(forward).await;
        // A failure may have come after others were applied.
        if done.as_ref().map_or(true, |report| !report.ran.is_empty()) {
            runtime.renew_connections();
        }
        for late in done.iter().flat_map(|report| &report.late_replicas) {
            tracing::warn!("a replica has not replayed the migrations: {late}");
        }
        done
    }
}
