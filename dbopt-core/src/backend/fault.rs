//! Which errors are the infrastructure's: decided by SQLSTATE, never by message text.

use crate::error::SqlState;

/// Something that went wrong on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What it means for the call and the node.
    pub kind: FaultKind,
    /// The SQLSTATE, where the server gave one.
    pub sqlstate: Option<SqlState>,
    /// The reason, to read; a server's message may quote data, so it is not logged by default.
    pub message: String,
}

/// What a fault means for the call and the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The application's own: constraint, syntax, not found. Says nothing about the node.
    Application,
    /// The statement was cancelled (57014), by a timeout or on request.
    Cancelled,
    /// COMMIT was answered with a rollback: an earlier statement had failed.
    RolledBack,
    /// A write in a read-only session or on a standby (25006).
    ReadOnly,
    /// The replica had to cancel the read to go on replaying (40001 or 40P01 on a standby).
    RecoveryConflict,
    /// The server lacks resources, or its machine fails it (class 53: connections, memory, disk; 58000 and 58030).
    Resources,
    /// The server is stopping, restarting or was told to drop the session (57P01 to 57P05).
    ServerStopping,
    /// The connection is lost (class 08, or the socket closed).
    ConnectionLost,
}

impl FaultKind {
    /// What a SQLSTATE means on a node that is `standby` or not.
    ///
    /// Classes are those of the appendix "PostgreSQL Error Codes" of its manual.
    pub const fn of(sqlstate: SqlState, standby: bool) -> FaultKind {
        match (&sqlstate.0, sqlstate.class()) {
            (b"57P01" | b"57P02" | b"57P03" | b"57P05", _) => FaultKind::ServerStopping,
            (b"57P04", _) => FaultKind::ConnectionLost,
            (_, [b'0', b'8']) => FaultKind::ConnectionLost,
            (_, [b'5', b'3']) | (b"58000" | b"58030", _) => FaultKind::Resources,
            (b"25006", _) => FaultKind::ReadOnly,
            (b"57014", _) => FaultKind::Cancelled,
            (b"40001" | b"40P01", _) if standby => FaultKind::RecoveryConflict,
            _ => FaultKind::Application,
        }
    }

    /// What it is called in logs and in the state.
    pub const fn name(self) -> &'static str {
        match self {
            FaultKind::Application => "an error of its own",
            FaultKind::Cancelled => "a cancellation",
            FaultKind::RolledBack => "a rollback",
            FaultKind::ReadOnly => "a node that takes no writes",
            FaultKind::RecoveryConflict => "a conflict with replaying",
            FaultKind::Resources => "a lack of resources",
            FaultKind::ServerStopping => "a server that stops",
            FaultKind::ConnectionLost => "the loss of its connection",
        }
    }

    /// Whether the same read may succeed on another node.
    pub const fn may_succeed_elsewhere(self) -> bool {
        matches!(
            self,
            FaultKind::RecoveryConflict | FaultKind::Resources | FaultKind::ServerStopping | FaultKind::ConnectionLost
        )
    }

    /// Whether it makes the node itself suspect.
    pub const fn suspects_node(self) -> bool {
        matches!(self, FaultKind::ServerStopping | FaultKind::ConnectionLost)
    }
}

impl Fault {
    /// A lost connection.
    pub fn lost(message: impl Into<String>) -> Self {
        Fault { kind: FaultKind::ConnectionLost, sqlstate: None, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: &[u8; 5], standby: bool) -> FaultKind {
        FaultKind::of(SqlState(*code), standby)
    }

    #[test]
    fn application_errors_never_count_against_a_node() {
        for code in [b"23505", b"42601", b"22012", b"P0001", b"23503", b"25P02"] {
            let kind = kind(code, true);
            assert_eq!(kind, FaultKind::Application);
            assert!(!kind.suspects_node() && !kind.may_succeed_elsewhere());
        }
    }

    #[test]
    fn a_serialization_failure_is_a_conflict_on_standbys_only() {
        assert_eq!(kind(b"40001", true), FaultKind::RecoveryConflict);
        assert_eq!(kind(b"40001", false), FaultKind::Application);
    }

    #[test]
    fn infrastructure_codes() {
        assert_eq!(kind(b"57P01", false), FaultKind::ServerStopping);
        assert_eq!(kind(b"08006", false), FaultKind::ConnectionLost);
        assert_eq!(kind(b"53300", false), FaultKind::Resources);
        assert_eq!(kind(b"58030", false), FaultKind::Resources);
        assert_eq!(kind(b"58P01", false), FaultKind::Application, "a file that the application named");
        assert_eq!(kind(b"25006", true), FaultKind::ReadOnly);
    }
}
