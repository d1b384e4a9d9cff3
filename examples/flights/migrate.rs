//! The schema, inside the binary.

use anyhow::anyhow;
use dbopt_diesel::Conn;
use diesel_async::AsyncMigrationHarness;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

/// The folder `migrations/`, as it was when this was compiled.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("flights/migrations");

/// Runs the migrations that this database has not seen, and returns their names.
///
/// Needs a multi-threaded runtime: diesel's harness blocks.
///
/// # Errors
/// When a migration fails; those before it stay.
pub fn migrate(conn: Conn) -> anyhow::Result<Vec<String>> {
    let mut harness = AsyncMigrationHarness::new(conn);
    let done = harness.run_pending_migrations(MIGRATIONS).map_err(|error| anyhow!("migration failed: {error}"))?;
    Ok(done.iter().map(ToString::to_string).collect())
}
