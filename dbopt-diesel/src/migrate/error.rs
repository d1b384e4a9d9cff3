//! Why migrations could not be run.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use dbopt_core::backend::ConnectError;
use dbopt_core::error::ConfigError;
use dbopt_core::schema::loss::Loss;
use dbopt_core::schema::migration::Problem;
use dbopt_core::schema::plan::Drift;

/// Why migrations could not be run, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Scripts that cannot be run, all of them.
    #[error("{}", lines(.0))]
    Source(Vec<Problem>),
    /// A folder or file that cannot be read or written.
    #[error("{}: {error}; name the folder of your migrations with --folder or schema.folder", .folder.display())]
    Folder {
        /// Which one.
        folder: PathBuf,
        /// Why not.
        #[source]
        error: std::io::Error,
    },
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A server that cannot be reached.
    #[error("{0}")]
    Connect(ConnectError),
    /// No server is the primary.
    #[error("no primary: {0}; migrations run on the primary only")]
    NoPrimary(String),
    /// No migration, or more than one, is called so.
    #[error("{0}")]
    Unknown(String),
    /// Another instance is migrating, for longer than `schema.wait`.
    #[error(
        "waited {waited:?} (schema.wait) for another instance that is migrating ({holder}); look what it does, or wait longer"
    )]
    Busy {
        /// How long.
        waited: Duration,
        /// Who holds the lock.
        holder: String,
    },
    /// A pooler gives each transaction another session, so that no lock can be held.
    #[error(
        "the lock is gone: a pooler in transaction mode stands before the server; name the server itself in the URL"
    )]
    Pooler,
    /// What was applied is not what the folder says.
    #[error("{}", drift(.0))]
    Drift(Vec<Drift>),
    /// A statement failed.
    #[error("{0}")]
    Failed(Box<Failure>),
    /// What runs alone was cut off, and cannot be taken up again by itself.
    #[error("{migration} was begun and never ended: {what}")]
    Unfinished {
        /// The migration.
        migration: String,
        /// What to do.
        what: String,
    },
    /// Data would be lost.
    #[error("{}", lossy(.migration, .losses))]
    Lossy {
        /// The script.
        migration: String,
        /// What would be lost.
        losses: Vec<Loss>,
    },
    /// Production demands a receipt.
    #[error("this environment is production: {0}")]
    Receipt(String),
    /// The server refused something of dbopt's own.
    #[error("{}", refused(.doing, .error))]
    Database {
        /// What.
        doing: &'static str,
        /// The server's words.
        #[source]
        error: tokio_postgres::Error,
    },
}

/// A statement that failed, and what that left.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The script.
    pub file: String,
    /// The line of the mistake, or of the statement.
    pub line: usize,
    /// Which statement of how many, from 1.
    pub statement: (usize, usize),
    /// Its beginning.
    pub summary: String,
    /// The server's words.
    pub message: String,
    /// The SQLSTATE, where the server gave one.
    pub sqlstate: Option<String>,
    /// What the server adds.
    pub hint: Option<String>,
    /// What became of what was done before.
    pub state: &'static str,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { file, line, statement: (nth, of), summary, message, .. } = self;
        write!(f, "{file} line {line}: statement {nth} of {of} failed: {message}")?;
        if let Some(code) = &self.sqlstate {
            write!(f, " (SQLSTATE {code})")?;
        }
        write!(f, "\n  in: {summary}")?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        write!(f, "\n  {}", self.state)
    }
}

fn refused(doing: &str, error: &tokio_postgres::Error) -> String {
    let Some(db) = error.as_db_error() else { return format!("could not {doing}: {error}") };
    let remedy = match db.code().code() {
        "42501" => "; grant this user CREATE on the schema, or migrate as its owner",
        _ => "",
    };
    format!("could not {doing}: {} (SQLSTATE {}){remedy}", db.message(), db.code().code())
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn drift(drift: &[Drift]) -> String {
    let mut text = "what was applied is not what the folder says; nothing was run".to_owned();
    for Drift { version, file, state, diff } in drift {
        text.push_str(&format!("\n{file}: {} after it was applied", state.name().to_lowercase()));
        for line in diff.lines() {
            text.push_str(&format!("\n    {line}"));
        }
        text.push_str(&format!(
            "\n  undo the change and write a new migration; or, if the database agrees with it, run with --accept-drift {version}"
        ));
    }
    text
}

fn lossy(migration: &str, losses: &[Loss]) -> String {
    let mut text = format!("{migration} loses data:");
    for loss in losses {
        text.push_str(&format!("\n  line {}: {}", loss.line, loss.what));
    }
    text.push_str("\nadd --accept-data-loss to run it, and --backup to copy these tables first");
    text
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
