//! What can go wrong with a development cluster, each with what to do next.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a development cluster could not be started, or one of its servers did not do what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevError {
    /// A program that the cluster consists of is not on this machine.
    #[error("{what} not found (looked in {looked_in}). {hint}")]
    NotInstalled {
        /// The program, as a person would call it.
        what: &'static str,
        /// The places that were searched, comma separated.
        looked_in: String,
        /// The install line for this machine, and the variable that points elsewhere.
        hint: String,
    },

    /// The builder was asked for something that cannot be.
    #[error("this cluster cannot be built: {0}")]
    Invalid(String),

    /// The file system or the operating system refused.
    #[error("could not {doing}: {source}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },

    /// Another cluster, in this process or another, lives in the same folder.
    #[error("{} is in use by another cluster: stop that one first, or choose another folder", dir.display())]
    InUse {
        /// The contested folder.
        dir: PathBuf,
    },

    /// A helper program (initdb, cp, pg_basebackup) failed.
    #[error("{program} failed ({status}); the end of what it said:\n{output}")]
    Command {
        /// Its name.
        program: String,
        /// How it ended.
        status: String,
        /// The last lines of its output.
        output: String,
    },

    /// A server ended instead of becoming ready.
    #[error("{server} ended while starting ({status}); the end of {}:\n{tail}", log.display())]
    Exited {
        /// The node's name.
        server: String,
        /// How it ended.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of that file.
        tail: String,
    },

    /// A server runs but did not reach the wanted state in time.
    #[error("{server} was not {wanted} within {waited:?}; last seen: {last}; the end of its log:\n{tail}")]
    TimedOut {
        /// The node's name.
        server: String,
        /// The state that was waited for.
        wanted: &'static str,
        /// How long.
        waited: Duration,
        /// The last real cause, or the last state seen.
        last: String,
        /// The last lines of its log.
        tail: String,
    },

    /// The server has been killed or stopped.
    #[error("{server} is not running: call start() on it first")]
    NotRunning {
        /// The node's name.
        server: String,
    },

    /// The operation only makes sense on a standby.
    #[error("{server} is not a standby: it has no replay to wait for or to delay")]
    NotAStandby {
        /// The node's name.
        server: String,
    },

    /// The server answered with an error, or the connection to it was lost.
    #[error("{server} refused: {message}")]
    Postgres {
        /// The node's name.
        server: String,
        /// The server's message with its SQLSTATE, or the driver's.
        message: String,
        /// The SQLSTATE, when the server answered at all.
        code: Option<String>,
        /// The driver's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The certificate for TLS could not be made.
    #[error("could not make the TLS certificate: {0}")]
    Certificate(Box<dyn std::error::Error + Send + Sync>),
}

impl DevError {
    /// The SQLSTATE, when a PostgreSQL server answered with an error.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Postgres { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(super) fn postgres(server: &str, source: tokio_postgres::Error) -> Self {
        let (message, code) = match source.as_db_error() {
            Some(db) => {
                let code = db.code().code().to_owned();
                (format!("{} (SQLSTATE {code})", db.message()), Some(code))
            }
            None => (describe(&source), None),
        };
        Self::Postgres { server: server.to_owned(), message, code, source: Box::new(source) }
    }

    /// Another program took the port between our look and the server's bind: worth another try on another port.
    pub(super) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Exited { tail, .. } if tail.contains("Address already in use") || tail.contains("Address in use"))
    }
}

/// An error with all its causes: tokio-postgres says only "error connecting to server" by itself.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The last lines of a log, for a message that stands alone.
pub(super) fn tail(log: &Path) -> String {
    const LINES: usize = 12;
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines[lines.len().saturating_sub(LINES)..].join("\n");
    if shown.is_empty() { "(the log is empty)".to_owned() } else { shown }
}
