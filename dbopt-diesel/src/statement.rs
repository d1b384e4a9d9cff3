//! Every statement as it was seen on the wire.

use std::sync::Arc;
use std::time::Duration;

use dbopt_core::error::SqlState;

/// A statement that has ended.
///
/// Times are taken where the bytes leave and arrive: they hold the server and the network, not the wait for a connection. An
/// application that reads its rows slowly holds the server up once the buffers between them are full, and that counts too.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Statement {
    /// The node it ran on.
    pub node: Arc<str>,
    /// Its text with placeholders; bound values are never kept.
    pub sql: Arc<str>,
    /// From the moment it was sent to its first row.
    pub first_row: Option<Duration>,
    /// From the moment it was sent to its end.
    pub total: Duration,
    /// Rows that the server sent.
    pub rows: u64,
    /// How it ended.
    pub end: End,
}

/// How a statement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The server completed it, with a tag such as `UPDATE 3` or `COMMIT`.
    Completed {
        /// The command tag.
        tag: String,
    },
    /// The server answered with an error; 57014 is a cancellation.
    Failed {
        /// The error code.
        sqlstate: SqlState,
    },
    /// The connection ended first.
    Lost,
}

impl Statement {
    /// The rows that the statement changed, or selected, according to its tag.
    pub fn affected(&self) -> Option<u64> {
        match &self.end {
            End::Completed { tag } => tag.rsplit(' ').next()?.parse().ok(),
            _ => None,
        }
    }
}

/// Is told of every statement; called on the connection's own task, so it must be quick and must not block.
pub trait StatementWatch: Send + Sync + 'static {
    /// A statement has ended.
    fn ended(&self, statement: &Statement);
}

impl<F: Fn(&Statement) + Send + Sync + 'static> StatementWatch for F {
    fn ended(&self, statement: &Statement) {
        self(statement);
    }
}
