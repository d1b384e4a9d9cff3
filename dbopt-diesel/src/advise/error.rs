//! Why no advice could be given.

use dbopt_core::backend::ConnectError;
use dbopt_core::error::ConfigError;

/// Why no advice could be given, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A server that cannot be reached.
    #[error("{0}")]
    Connect(ConnectError),
    /// Nobody counts statements there.
    #[error(
        "{0}\n  have it counted: put pg_stat_statements into shared_preload_libraries, restart the server, and run CREATE EXTENSION \
         pg_stat_statements in this database;\n  or ask an application what it runs with --app URL, or name the statements with --statements FILE"
    )]
    NotCounted(String),
    /// The scratch copy is no copy.
    #[error("{0}")]
    Scratch(String),
    /// No server is the primary.
    #[error("no primary is known at the moment: the writes that an index costs are counted there")]
    NoPrimary,
    /// The server refused something of dbopt's own.
    #[error("could not {doing}: {}", words(.error))]
    Database {
        /// What.
        doing: &'static str,
        /// The server's words.
        #[source]
        error: tokio_postgres::Error,
    },
    /// The server's answer is not understood.
    #[error("the catalog has a row that is not understood: {0}")]
    Answer(#[from] serde_json::Error),
}

fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        None => error.to_string(),
    }
}

/// Puts what was attempted before the server's words.
pub(super) trait Doing<T> {
    fn doing(self, what: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, tokio_postgres::Error> {
    fn doing(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|error| Error::Database { doing: what, error })
    }
}
