//! The schema, inside the binary.

use dbopt_diesel::Config;
use dbopt_diesel::migrate::{Error, Forward, Migrations, Migrator};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

// ANCHOR: embedded
/// The folder `migrations/`, as it was when this was compiled.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("flights/migrations");
// ANCHOR_END: embedded

// ANCHOR: migrate
/// Runs the migrations that the primary has not seen, and returns their names.
///
/// However many instances do so at once, each migration runs once.
///
/// # Errors
/// When a migration fails; those before it stay, it leaves nothing.
pub async fn migrate(config: &Config) -> Result<Vec<String>, Error> {
    let migrator = Migrator::new(config, Migrations::from_source(&MIGRATIONS)?)?;
    let report = migrator.up(&Forward::default()).await?;
    Ok(report.ran.into_iter().map(|ran| ran.name).collect())
}
// ANCHOR_END: migrate
