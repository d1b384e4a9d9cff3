//! What a database driver must offer: connections that tell what they saw.
//!
//! The rest of this crate decides; a backend does. `dbopt-diesel` holds the real one; [`fake`] holds one for tests.

#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod fault;
mod site;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;
use crate::error::{Reason, SqlState};
use crate::op::{Lane, Op};
use crate::position::{Lsn, Position};

pub use fault::{Fault, FaultKind};
pub use site::Site;

/// One PostgreSQL server as the configuration names it.
#[derive(Clone)]
pub struct Endpoint {
    /// The name used in metrics, logs and errors.
    pub name: Arc<str>,
    /// The connection URL; it may hold a password, so it is never shown.
    pub url: Arc<str>,
    /// Where to connect instead of looking up the URL's host, which TLS still verifies: one of several addresses of that name.
    pub address: Option<IpAddr>,
}

impl Endpoint {
    /// A server at the host that its URL names.
    pub fn new(name: impl Into<Arc<str>>, url: impl Into<Arc<str>>) -> Self {
        Endpoint { name: name.into(), url: url.into(), address: None }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a new connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Calls of a lane; [`Lane::Read`] sessions must refuse to write.
    Lane(Lane),
    /// The health monitor's own connection.
    Probe,
    /// Asks how statements are run; must refuse to write.
    Analysis,
}

/// For whom a connection works.
#[derive(Debug, Clone, Copy)]
pub struct OnBehalf<'a> {
    /// The method that is called.
    pub op: &'static Op,
    /// Who calls it.
    pub context: Option<&'a Context>,
    /// How long the call waited for the connection.
    pub waited: Duration,
    /// The call in a trace, where there is one; what runs for it is a part of that.
    pub span: Option<&'a tracing::Span>,
}

/// Why no connection could be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    /// The reason, to decide by.
    pub reason: Reason,
    /// The reason, to read; never with a password in it.
    pub message: String,
    /// The SQLSTATE, where the server gave one.
    pub sqlstate: Option<SqlState>,
}

impl ConnectError {
    /// An error without a SQLSTATE.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        ConnectError { reason, message: message.into(), sqlstate: None }
    }
}

/// The state of a connection nobody is using, known without asking the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Every statement has ended and no transaction is open: the next caller may have it.
    Clean,
    /// A statement is still running: its caller went away.
    Busy,
    /// A transaction is still open.
    InTransaction,
    /// The connection is gone, or the server said it is going.
    Closed,
}

/// What a server says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Primary or replica.
    pub role: Role,
    /// The cluster's identity: the same on all nodes of a cluster.
    pub system_identifier: u64,
    /// The timeline, where the node can tell it.
    pub timeline: Option<u32>,
    /// On a primary the end of the log, on a replica what it has replayed.
    pub lsn: Lsn,
    /// On a replica, whether its receiver is streaming; `None` when the role may not see it.
    pub streaming: Option<bool>,
    /// Whether new sessions are read-only by default, as on a fenced primary.
    pub read_only: bool,
    /// On a replica, whether somebody has stopped it from replaying.
    pub paused: bool,
    /// On a replica, the server it receives from; `None` when it receives nothing, or when the role may not see it.
    pub upstream: Option<Upstream>,
    /// On a primary that was promoted since it started, where its timeline left the one before.
    pub forked_at: Option<Lsn>,
    /// What tells this run of this server from every other.
    pub server: ServerMark,
}

/// The server that a replica receives from, as the replica itself calls it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// Its name or address.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What tells one run of a server from every other: two URLs with the same mark lead to one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerMark {
    /// When it was started by its own clock, in microseconds.
    pub started: i64,
    /// The port that it listens on, whatever port leads there.
    pub port: u16,
}

/// What a transaction can be recognised by after its connection is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionMark {
    /// Its number on the server.
    pub id: u64,
    /// The run of the server it belongs to: after a crash or a failover its number may be given to another one.
    pub life: String,
}

/// A value as it was bound to a statement. It is shown to nobody.
#[derive(Clone, Copy)]
pub struct BoundValue<'a> {
    /// Its type, as PostgreSQL numbers it; 0 while nobody knows.
    pub kind: u32,
    /// Its binary form; `None` is NULL.
    pub bytes: Option<&'a [u8]>,
}

impl fmt::Debug for BoundValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundValue").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Everything it wrote is there.
    Committed,
    /// Nothing it wrote is there.
    Aborted,
    /// It has not ended yet.
    InProgress,
    /// The server cannot tell.
    Unknown,
}

/// What a server is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Accepts writes.
    Primary,
    /// Follows a primary.
    Replica,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
        })
    }
}

/// Opens connections.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a database driver that dbopt can use")]
pub trait Backend: Send + Sync + 'static {
    /// A connection.
    type Connection: Connection;
    /// The error that users' methods see; their own error types convert from it.
    type Error: From<crate::Error> + Send + 'static;

    /// Says what is wrong with a connection URL, without connecting. The message must not contain the password.
    ///
    /// # Errors
    /// When the URL cannot be used.
    fn check(&self, url: &str) -> Result<(), String>;

    /// Where the URL leads: a host name or address, and a port. `None` for a socket of this machine.
    fn place(&self, _url: &str) -> Option<(String, u16)> {
        None
    }

    /// Opens a connection. The caller bounds it in time and may drop the future at any point.
    fn connect(
        &self,
        endpoint: &Endpoint,
        purpose: Purpose,
    ) -> impl Future<Output = Result<Self::Connection, ConnectError>> + Send;
}

/// A connection that tells what it saw.
///
/// Every `async` method may be dropped at any point; [`Connection::health`] tells afterwards what is left to do.
pub trait Connection: Send + Sync + 'static {
    /// What the connection knows of itself, without asking the server.
    fn health(&mut self) -> Health;

    /// Forgets what earlier calls saw. `track_position` asks for the commit position of the coming call.
    fn begin_call(&mut self, track_position: bool);

    /// Says for whom the statements are that follow [`Connection::begin_call`]; said in the caller's own task.
    fn works_for(&mut self, _on_behalf: OnBehalf<'_>) {}

    /// The worst that happened since [`Connection::begin_call`].
    fn fault(&mut self) -> Option<Fault>;

    /// The position right after the last COMMIT since [`Connection::begin_call`], where it was asked for and seen.
    fn committed_at(&mut self) -> Option<Position>;

    /// The tags of cached results that statements since [`Connection::begin_call`] made untrue, without those whose savepoint was rolled
    /// back.
    fn take_invalidations(&mut self) -> Vec<String>;

    /// Writes the tags into the outbox table, in the open transaction; gives the row's number. `None`: this driver has no outbox.
    fn note_invalidations(&mut self, _tags: &[String]) -> impl Future<Output = Result<Option<i64>, Fault>> + Send {
        async { Ok(None) }
    }

    /// In the open transaction: removes what the outbox table has had for longer than `age`, at most `limit` rows that nobody else is at;
    /// gives their tags.
    fn take_notes(&mut self, _age: Duration, _limit: u32) -> impl Future<Output = Result<Vec<String>, Fault>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Removes rows of the outbox table.
    fn remove_notes(&mut self, _rows: &[i64]) -> impl Future<Output = Result<(), Fault>> + Send {
        async { Ok(()) }
    }

    /// Makes the outbox table where it is missing.
    fn make_outbox(&mut self) -> impl Future<Output = Result<(), Fault>> + Send {
        async { Ok(()) }
    }

    /// Makes the session read-only or read-write, if it is not so already.
    fn set_read_only(&mut self, read_only: bool) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Opens a transaction.
    fn begin(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Opens a transaction that can be recognised later, in the same round trip. `None`: this driver cannot.
    fn begin_marked(&mut self) -> impl Future<Output = Result<Option<TransactionMark>, Fault>> + Send {
        async { self.begin().await.map(|()| None) }
    }

    /// On a primary: what became of a transaction whose connection was lost.
    fn fate_of(&mut self, _mark: &TransactionMark) -> impl Future<Output = Result<Fate, Fault>> + Send {
        async { Ok(Fate::Unknown) }
    }

    /// Whether the server has said, with what it answered last, that new transactions may not write: it was fenced, or is a standby.
    fn refuses_writes(&self) -> bool {
        false
    }

    /// Commits it. A server that rolls back instead is a fault of kind [`FaultKind::RolledBack`].
    fn commit(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Rolls it back.
    fn rollback(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;

    /// On a primary: the end of the log, as of now.
    fn log_end(&mut self) -> impl Future<Output = Result<Position, Fault>> + Send;

    /// What this node shows to readers: its replayed position, or the end of the log on a primary.
    fn visible(&mut self) -> impl Future<Output = Result<Position, Fault>> + Send;

    /// Cancels what is running on the server and waits until the connection is proved clean.
    ///
    /// Returns whether it is: if not, it must be dropped.
    fn recover(&mut self) -> impl Future<Output = bool> + Send;

    /// Asks the server, in SQL, how busy its machine is: the first value of the first row, in JSON. `None`: this driver cannot.
    fn host(&mut self, _query: &str) -> impl Future<Output = Result<Option<String>, Fault>> + Send {
        async { Ok(None) }
    }

    /// Asks the server how it would run `statement`, whatever its values, without running it: the plan in JSON. `types` are those of its
    /// `params` placeholders, as far as they are known. `None`: this driver cannot.
    fn explain(
        &mut self,
        _statement: &str,
        _types: &[&'static str],
        _params: u16,
    ) -> impl Future<Output = Result<Option<String>, Fault>> + Send {
        async { Ok(None) }
    }

    /// The same for the values that one run of it had. They must not become part of a text, as servers keep texts. `None`: this driver cannot.
    fn explain_with(
        &mut self,
        _statement: &str,
        _values: &[BoundValue<'_>],
    ) -> impl Future<Output = Result<Option<String>, Fault>> + Send {
        async { Ok(None) }
    }

    /// For tables of these names a mark that is another one when their statistics or their schema have changed. `None`: this driver cannot tell.
    fn table_marks(
        &mut self,
        _tables: &[String],
    ) -> impl Future<Output = Result<Option<Vec<(String, String)>>, Fault>> + Send {
        async { Ok(None) }
    }

    /// Asks the server about itself.
    fn report(&mut self) -> impl Future<Output = Result<NodeReport, Fault>> + Send;
}
