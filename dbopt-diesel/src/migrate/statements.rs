//! The statements of an application: what it runs now must still be understood after a migration.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use dbopt_core::schema::script::Script;
use parking_lot::Mutex;
use tokio_postgres::Client;

use super::error::{Doing, Error};
use crate::statement::{Statement, StatementWatch};

/// Statements of an application, each once: gathered by [`Db::connect_watched`](crate::Db::connect_watched) while its tests run, or read from a
/// file.
///
/// ```no_run
/// # use dbopt_diesel::{prelude::*, migrate::Statements};
/// # async fn example(config: Config) -> Result<(), Box<dyn std::error::Error>> {
/// let statements = Statements::default();
/// let db = Db::connect_watched(config, statements.clone()).await?;
/// // ... run the tests ...
/// statements.save("statements.sql")?;                 // dbopt migrate validate --statements statements.sql
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Statements(Arc<Mutex<BTreeSet<Arc<str>>>>);

impl StatementWatch for Statements {
    fn ended(&self, statement: &Statement) {
        let first = statement.sql.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "MERGE", "VALUES"].contains(&first.as_str()) {
            let mut all = self.0.lock();
            if !all.contains(&statement.sql) {
                all.insert(statement.sql.clone());
            }
        }
    }
}

impl Statements {
    /// Those of a text, with semicolons between them.
    ///
    /// # Errors
    /// For a text that cannot be cut into statements.
    pub fn from_text(text: &str) -> Result<Statements, Error> {
        let script = Script::parse(text).map_err(Error::Unknown)?;
        let all = script.statements().map(|statement| Arc::from(statement.sql)).collect();
        Ok(Statements(Arc::new(Mutex::new(all))))
    }

    /// Those of a file.
    ///
    /// # Errors
    /// When it cannot be read, or not be cut into statements.
    pub fn load(path: impl AsRef<Path>) -> Result<Statements, Error> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|error| Error::Folder { folder: path.to_owned(), error })?;
        Statements::from_text(&text)
    }

    /// Writes them to a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let text: String =
            self.0.lock().iter().map(|sql| format!("{};\n", sql.trim_end().trim_end_matches(';'))).collect();
        fs::write(path, text).map_err(|error| Error::Folder { folder: path.to_owned(), error })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Those that a server has counted with `pg_stat_statements`.
    pub(super) async fn of_server(client: &Client) -> Result<Statements, Error> {
        let sql = "SELECT DISTINCT query FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                   AND query ~* '^\\s*(select|insert|update|delete|with|merge)'";
        let rows = client.query(sql, &[]).await.doing("read pg_stat_statements")?;
        Ok(Statements(Arc::new(Mutex::new(rows.iter().map(|row| Arc::from(row.get::<_, String>(0))).collect()))))
    }

    pub(super) fn list(&self) -> Vec<Arc<str>> {
        self.0.lock().iter().cloned().collect()
    }
}

/// What a statement gives back: names and types of its columns, or why it cannot be run.
pub(super) async fn shape(client: &Client, sql: &str) -> Result<Result<String, String>, Error> {
    match client.prepare(sql).await {
        Ok(statement) => {
            let columns = statement.columns().iter().map(|column| format!("{} {}", column.name(), column.type_()));
            let parameters = statement.params().iter().map(ToString::to_string);
            let (columns, parameters) = (columns.collect::<Vec<_>>(), parameters.collect::<Vec<_>>());
            Ok(Ok(format!("({}) from ({})", columns.join(", "), parameters.join(", "))))
        }
        Err(error) => match error.as_db_error() {
            Some(db) => Ok(Err(db.message().to_owned())),
            None => Err(Error::Database { doing: "prepare a statement", error }),
        },
    }
}
