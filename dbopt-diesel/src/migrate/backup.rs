//! Copies of what a script is going to lose.

use dbopt_core::schema::loss::Loss;
use dbopt_core::schema::migration::Migration;

/// The statements that copy the tables of `losses`, each once, and the names of the copies.
pub(super) fn copies(migration: &Migration, losses: &[Loss]) -> Vec<(String, String)> {
    let mut tables: Vec<&str> = losses.iter().filter_map(|loss| loss.table.as_deref()).collect();
    tables.sort_unstable();
    tables.dedup();
    tables.iter().map(|table| copy(migration, table)).collect()
}

fn copy(migration: &Migration, table: &str) -> (String, String) {
    let (schema, plain) = match table.rsplit_once('.') {
        Some((schema, plain)) => (format!("{schema}."), plain),
        None => (String::new(), table),
    };
    let plain: String = plain.chars().filter(|c| c.is_alphanumeric() || *c == '_').take(24).collect();
    let version: String = migration.version.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
    let name = format!("{schema}__dbopt_backup_{version}_{}", plain.to_lowercase());
    // A copy from before stays: nobody knows what is missing from it.
    (format!("CREATE TABLE {name} AS TABLE {table}"), name)
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
        assert_eq!(found[0].0, "CREATE TABLE __dbopt_backup_20260101_a AS TABLE a");
        assert_eq!(found[1].1, "s.__dbopt_backup_20260101_bigone");
        assert_eq!(found.len(), 2);
    }
}
