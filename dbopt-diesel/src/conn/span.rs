//! A statement in a trace, named as OpenTelemetry's conventions for databases have it.

use std::sync::Arc;

use dbopt_core::op::Op;
use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::statement::End;

/// Where a connection leads, as traces tell it.
#[derive(Clone, Default)]
pub(super) struct Server {
    pub(super) node: Arc<str>,
    pub(super) host: Arc<str>,
    pub(super) port: u16,
}

/// The span of a statement that `parent` waits for; it ends when it is dropped.
pub(super) fn begin(parent: &Span, op: Option<&'static Op>, sql: &str, server: &Server) -> Span {
    let operation = operation(sql);
    info_span!(
        target: "dbopt::statement",
        parent: parent,
        "statement",
        otel.name = operation,
        otel.kind = "client",
        db.system.name = "postgresql",
        db.operation.name = operation,
        db.query.summary = op.map(Op::name),
        server.address = &*server.host,
        server.port = server.port,
        dbopt.node = &*server.node,
        db.response.returned_rows = Empty,
        db.response.status_code = Empty,
        otel.status_code = Empty,
        "error.type" = Empty,
    )
}

/// Says how it went.
pub(super) fn end(span: &Span, rows: u64, end: &End) {
    span.record("db.response.returned_rows", rows);
    match end {
        End::Completed { .. } => {}
        End::Failed { sqlstate } => {
            span.record("otel.status_code", "ERROR");
            let code = sqlstate.to_string();
            span.record("db.response.status_code", code.as_str());
            span.record("error.type", code.as_str());
        }
        End::Lost => {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", "connection lost");
        }
    }
}

/// The words that a statement of an application begins with; a trace has no use for others.
const OPERATIONS: [&str; 22] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "WITH",
    "VALUES",
    "TABLE",
    "BEGIN",
    "START",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "SET",
    "SHOW",
    "COPY",
    "CALL",
    "CREATE",
    "ALTER",
    "DROP",
    "LOCK",
];

/// What a statement does, in one word.
fn operation(sql: &str) -> &'static str {
    let word = sql.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    let word = &word[..word.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(word.len())];
    OPERATIONS.into_iter().find(|known| known.eq_ignore_ascii_case(word)).unwrap_or("OTHER")
}

#[cfg(test)]
mod tests {
    use super::operation;

    #[test]
    fn a_statement_is_named_by_what_it_does() {
        for (sql, name) in [
            ("SELECT 1", "SELECT"),
            ("  (select 1)", "SELECT"),
            ("COMMIT", "COMMIT"),
            ("Insert\nINTO t", "INSERT"),
            ("-- a comment\nSELECT 1", "OTHER"),
            ("", "OTHER"),
            ("Größe", "OTHER"),
        ] {
            assert_eq!(operation(sql), name, "{sql}");
        }
    }
}
