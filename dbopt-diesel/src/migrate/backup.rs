//! Copies of what a script is going to lose.

use dbopt_core::schema::loss::Loss;
use dbopt_core::schema::migration::Migration;
use tokio_postgres::Client;

use super::error::{Doing, Error};

/// The tables of `losses`, each once, with the names of their copies.
pub(super) fn copies(migration: &Migration, losses: &[Loss]) -> Vec<BackupCopy> {
    let mut tables: Vec<&str> = losses.iter().filter_map(|loss| loss.table.as_deref()).collect();
    tables.sort_unstable();
    tables.dedup();
    tables.iter().map(|table| BackupCopy { table: (*table).to_owned(), name: name(migration, table) }).collect()
}

/// A table to copy, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BackupCopy {
    pub(super) table: String,
    pub(super) name: String,
}

impl BackupCopy {
    /// Copies it; a table that is not there is none to lose.
    pub(super) async fn make(&self, client: &Client) -> Result<(), Error> {
        let row = client.query_one(COLUMNS, &[&self.table]).await.doing("look at what is going to be lost")?;
        let Some(columns) = row.get::<_, Option<String>>(0) else { return Ok(()) };
        // A copy from before stays, and this fails: nobody knows what is missing from it.
        let sql = format!("CREATE TABLE {} AS SELECT {columns} FROM {}", self.name, self.table);
        client.batch_execute(&sql).await.doing("copy what is going to be lost")
    }
}

/// Values of types that a user made are copied as text: the script may drop the type.
const COLUMNS: &str = "SELECT string_agg(CASE WHEN nspname = 'pg_catalog' THEN quote_ident(attname) \
    ELSE format('%I::text AS %I', attname, attname) END, ', ' ORDER BY attnum) \
    FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid JOIN pg_namespace AS n ON n.oid = typnamespace \
    WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";

fn name(migration: &Migration, table: &str) -> String {
    let (schema, plain) = match table.rsplit_once('.') {
        Some((schema, plain)) => (format!("{schema}."), plain),
        None => (String::new(), table),
    };
    let plain: String = plain.chars().filter(|c| c.is_alphanumeric() || *c == '_').take(24).collect();
    let version: String = migration.version.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
    format!("{schema}__dbopt_backup_{version}_{}", plain.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_is_copied_once_under_a_name_that_tells_the_version() {
        let loss = |table: &str| Loss { line: 1, what: String::new(), table: Some(table.to_owned()) };
        let migration = Migration {
            version: "20260101".into(),
            name: "x".into(),
            up: String::new(),
            down: None,
            in_transaction: true,
        };
        let found = copies(&migration, &[loss("s.\"Big One\""), loss("a"), loss("a")]);
        assert_eq!(found[0].name, "__dbopt_backup_20260101_a");
        assert_eq!(found[1].name, "s.__dbopt_backup_20260101_bigone");
        assert_eq!(found.len(), 2);
    }
}
