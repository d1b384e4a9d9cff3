//! What a caller may be told instead of a result.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::op::Lane;
use crate::rate::{Rate, Scope};

/// Why a call could not be carried out, sorted by who can do something about it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The calling code must change: it called a method inside the body of another.
    #[error(
        "`{inner}` was called inside the body of `{outer}`, where it would run on a second connection, blind to the \
         first one's changes and possibly waiting for itself; call `{inner}_in(conn, ..)`, or wrap the call in \
         `dbopt_diesel::independent(..)` if a connection of its own is what you want"
    )]
    NestedCall {
        /// The method that was refused.
        inner: &'static str,
        /// The method whose body made the call.
        outer: &'static str,
    },
    /// The calling code must change: a read tried to write.
    #[error("`{method}` is marked #[read] but its body writes ({message}); mark it #[write]")]
    WroteInRead {
        /// The method.
        method: &'static str,
        /// What the server said.
        message: String,
    },
    /// The calling code must change: a body hid a failed statement, so its transaction could not be committed.
    #[error(
        "`{method}` returned Ok although one of its statements had failed: the server rolled the transaction back and \
         nothing was written; return the error, or catch it inside a nested `conn.transaction(..)`"
    )]
    RolledBack {
        /// The method.
        method: &'static str,
    },
    /// No node could take the call; each one's reason is listed.
    #[error("no connection for `{method}`: {}", Listed(.refusals))]
    Unavailable {
        /// The method.
        method: &'static str,
        /// One reason per node and lane that was tried.
        refusals: Vec<Refusal>,
    },
    /// The call's time was up.
    #[error("`{method}` was stopped after {after:?} while {doing}{}", Because(.cause))]
    Deadline {
        /// The method.
        method: &'static str,
        /// How long the call had taken.
        after: Duration,
        /// What it was waiting for.
        doing: Waiting,
        /// The last real failure on the way, if there was one.
        cause: Option<Refusal>,
    },
    /// The connection died during COMMIT: the write may or may not have happened.
    #[error(
        "the connection to {node} was lost while `{method}` was being committed: it is not known whether the write \
         happened; check before you repeat it ({message})"
    )]
    OutcomeUnknown {
        /// The method.
        method: &'static str,
        /// The node that was asked to commit.
        node: String,
        /// What was seen of the loss.
        message: String,
    },
    /// The database refused to begin or to commit the transaction of a call.
    #[error("{node} refused to {doing} for `{method}`: {message}{}", Code(.sqlstate))]
    Database {
        /// The method.
        method: &'static str,
        /// The node.
        node: String,
        /// `BEGIN` or `COMMIT`.
        doing: &'static str,
        /// What the server said.
        message: String,
        /// The SQLSTATE, where the server gave one.
        sqlstate: Option<SqlState>,
    },
    /// A rate limit is used up. Nothing was run, and nothing is counted for the call.
    #[error("`{method}` was refused: {}", OverLimit(*.scope, *.limit, *.cost, *.retry_after, *.cause))]
    RateLimited {
        /// The method.
        method: &'static str,
        /// Who is limited together.
        scope: Scope,
        /// The window that is full.
        limit: Rate,
        /// What the call would have counted as.
        cost: u32,
        /// When there will be room; an estimate, as others come too.
        retry_after: Duration,
        /// Why.
        cause: LimitCause,
    },
    /// [`shutdown`](crate::runtime::Runtime::shutdown) has begun.
    #[error("`{method}` was refused: the application is shutting down")]
    ShuttingDown {
        /// The method.
        method: &'static str,
    },
    /// The settings cannot be used; every mistake is listed.
    #[error("{0}")]
    Config(Arc<ConfigError>),
}

impl Error {
    /// When it makes sense to try again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Unavailable { refusals, .. } => refusals.iter().filter_map(|r| r.retry_after).min(),
            Error::Deadline { cause, .. } => cause.as_ref().and_then(|c| c.retry_after),
            Error::RateLimited { cause: LimitCause::CostAboveLimit, .. } => None,
            Error::RateLimited { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without any change, and repeating it cannot do harm.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Unavailable { refusals, .. } => !refusals.iter().all(|r| r.reason.is_permanent()),
            Error::Deadline { doing, .. } => !matches!(doing, Waiting::Body),
            Error::Database { sqlstate, .. } => sqlstate.is_some_and(|s| s.is_serialization()),
            Error::RateLimited { cause, .. } => *cause != LimitCause::CostAboveLimit,
            _ => false,
        }
    }
}

/// Settings that cannot be used: each problem says where it stands and what to write instead.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the configuration cannot be used:{}", Lines(.problems))]
pub struct ConfigError {
    /// One line per mistake.
    pub problems: Vec<String>,
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Error::Config(Arc::new(error))
    }
}

/// Why a limit has refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitCause {
    /// It is used up.
    UsedUp,
    /// One call costs more than the whole limit: it never fits.
    CostAboveLimit,
    /// Redis cannot be asked, and `limit.when_redis_is_lost` is `closed`.
    StoreLost,
}

/// What a call was waiting for when its time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// For a connection.
    Connection,
    /// For another node to become the primary. Nothing was sent.
    Primary,
    /// For its statements, inside the method's body.
    Body,
    /// For COMMIT or ROLLBACK.
    TransactionEnd,
    /// For another caller, who was loading the same result.
    OtherLoad,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Waiting::Connection => "waiting for a connection",
            Waiting::Primary => "waiting for a node to become the primary",
            Waiting::Body => "running its statements",
            Waiting::TransactionEnd => "ending its transaction",
            Waiting::OtherLoad => "waiting for another call to load the same result",
        })
    }
}

/// One pool's reason for giving no connection.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The node.
    pub node: Arc<str>,
    /// The lane.
    pub lane: Lane,
    /// The reason, to decide by.
    pub reason: Reason,
    /// The reason, to read.
    pub detail: String,
    /// When the pool will try again, where that is known.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.node, self.lane, self.detail)?;
        match self.retry_after {
            Some(wait) => write!(f, "; next attempt in {:.1} s", wait.as_secs_f64()),
            None => Ok(()),
        }
    }
}

impl StdError for Refusal {}

/// Why a pool gave no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing listens there.
    Refused,
    /// The host name has no address.
    UnknownHost,
    /// No answer within the connect timeout.
    ConnectTimeout,
    /// The server rejected the user or password.
    Authentication,
    /// The database named in the URL does not exist.
    UnknownDatabase,
    /// The server has no connection left (53300).
    ServerFull,
    /// The server is starting up or shutting down (57P03).
    NotReady,
    /// TLS could not be agreed on.
    Tls,
    /// The node is another cluster's, or not in the role it is needed in.
    WrongServer,
    /// A recent attempt failed; the next one is made later.
    BackingOff,
    /// The node failed too often: calls are refused until a test connection succeeds.
    CircuitOpen,
    /// Too many callers are waiting already.
    QueueFull,
    /// All connections are taken and the caller must not wait.
    Busy,
    /// As many calls of the method run as may at once.
    MethodBusy,
    /// No connection came free in time.
    AcquireTimeout,
    /// No primary is known.
    NoPrimary,
    /// The replica has not replayed what the caller has written.
    Behind,
    /// The primary serves as many reads in place of replicas as it may.
    Shed,
    /// The pool is closed.
    Closed,
    /// Something else; see the detail.
    Other,
}

impl Reason {
    /// Whether waiting will not help: someone must change a setting.
    pub const fn is_permanent(self) -> bool {
        matches!(
            self,
            Reason::Authentication
                | Reason::UnknownDatabase
                | Reason::UnknownHost
                | Reason::Tls
                | Reason::WrongServer
                | Reason::Closed
        )
    }

    /// Whether the reason lies with the node, not with this instance's own limits.
    pub const fn is_node_fault(self) -> bool {
        matches!(self, Reason::Refused | Reason::ConnectTimeout | Reason::NotReady | Reason::UnknownHost)
    }

    /// Whether the node's pool has more to do than it can.
    pub const fn tells_of_load(self) -> bool {
        matches!(self, Reason::AcquireTimeout | Reason::QueueFull)
    }

    /// Whether the same may be otherwise in a moment, so that it makes sense to wait for another attempt to connect.
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Reason::Refused
                | Reason::ConnectTimeout
                | Reason::ServerFull
                | Reason::NotReady
                | Reason::BackingOff
                | Reason::NoPrimary
        )
    }

    /// The reason's name as it appears in metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Refused => "refused",
            Reason::UnknownHost => "unknown_host",
            Reason::ConnectTimeout => "connect_timeout",
            Reason::Authentication => "authentication",
            Reason::UnknownDatabase => "unknown_database",
            Reason::ServerFull => "server_full",
            Reason::NotReady => "not_ready",
            Reason::Tls => "tls",
            Reason::WrongServer => "wrong_server",
            Reason::BackingOff => "backing_off",
            Reason::CircuitOpen => "circuit_open",
            Reason::QueueFull => "queue_full",
            Reason::Busy => "busy",
            Reason::MethodBusy => "method_busy",
            Reason::AcquireTimeout => "acquire_timeout",
            Reason::NoPrimary => "no_primary",
            Reason::Behind => "behind",
            Reason::Shed => "shed",
            Reason::Closed => "closed",
            Reason::Other => "other",
        }
    }
}

/// A five-character error code of PostgreSQL.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    /// The code as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("?????")
    }

    /// The code's class: its first two characters.
    pub const fn class(&self) -> [u8; 2] {
        [self.0[0], self.0[1]]
    }

    /// 40001 and 40P01: the transaction lost a race and may be repeated.
    pub fn is_serialization(&self) -> bool {
        matches!(&self.0, b"40001" | b"40P01")
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

struct OverLimit(Scope, Rate, u32, Duration, LimitCause);
impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OverLimit(scope, rate, cost, retry_after, cause) = self;
        let whose = match scope {
            Scope::User => "this caller's limit",
            Scope::Global => "the limit of all callers together",
            Scope::Database => "the limit of all calls to the database",
        };
        match cause {
            LimitCause::UsedUp => write!(f, "{whose} of {rate} is used up")?,
            LimitCause::CostAboveLimit => {
                return write!(
                    f,
                    "it costs {cost}, more than {whose} of {rate} ever allows; lower its cost or raise the limit"
                );
            }
            LimitCause::StoreLost => write!(
                f,
                "{whose} of {rate} cannot be checked, as Redis does not answer and limit.when_redis_is_lost is \"closed\""
            )?,
        }
        if *cost > 1 {
            write!(f, ", and it costs {cost}")?;
        }
        write!(f, "; try again in {:.1} s", retry_after.as_secs_f64())
    }
}

struct Listed<'a>(&'a [Refusal]);
impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no node is known to be usable");
        }
        for (i, refusal) in self.0.iter().enumerate() {
            write!(f, "{}{refusal}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

struct Lines<'a>(&'a [String]);
impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  - {line}"))
    }
}

struct Because<'a>(&'a Option<Refusal>);
impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |cause| write!(f, "; {cause}"))
    }
}

struct Code<'a>(&'a Option<SqlState>);
impl fmt::Display for Code<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |code| write!(f, " (SQLSTATE {code})"))
    }
}
