//! What nobody can judge by reading it.

use super::Rule;
use crate::schema::script::Kind;

pub(super) const RULES: &[Rule] = &[NOT_UNDERSTOOD, ANYTHING];

const NOT_UNDERSTOOD: Rule = Rule {
    name: "not-understood",
    why: "the linter does not know this statement, so it cannot call it safe",
    instead: "read in PostgreSQL's manual what it locks, look at the lock trace of `dbopt migrate validate`, and allow it with that reason",
    check: |case| {
        let unknown = case.parsed.is_none() && !is_known(case) && !matches!(case.statement.kind, Kind::Alone(_));
        if unknown { vec![case.statement.summary()] } else { Vec::new() }
    },
};

const ANYTHING: Rule = Rule {
    name: "does-anything",
    why: "what it runs is decided when it runs, so it cannot be judged by reading it",
    instead: "write the statements themselves; or look at the lock trace of `dbopt migrate validate`, and allow it with that reason",
    check: |case| {
        let first = case.words.upper.first().map(String::as_str);
        if matches!(first, Some("DO" | "CALL")) { vec![case.statement.summary()] } else { Vec::new() }
    },
};

/// Objects whose making, changing and dropping is short, whatever the rest of the statement says.
const SHORT: [&str; 22] = [
    "AGGREGATE",
    "CAST",
    "COLLATION",
    "DOMAIN",
    "EVENT",
    "EXTENSION",
    "FUNCTION",
    "GROUP",
    "LANGUAGE",
    "OPERATOR",
    "POLICY",
    "PROCEDURE",
    "PUBLICATION",
    "ROLE",
    "ROUTINE",
    "RULE",
    "SCHEMA",
    "SEQUENCE",
    "STATISTICS",
    "TEXT",
    "TYPE",
    "USER",
];

fn is_known(case: &super::context::Case<'_>) -> bool {
    let words: Vec<&str> = case.words.upper.iter().map(String::as_str).take(5).collect();
    match words.as_slice() {
        [
            "COMMENT" | "GRANT" | "REVOKE" | "SET" | "RESET" | "SELECT" | "INSERT" | "ANALYZE" | "REFRESH" | "REINDEX"
            | "DO" | "CALL" | "LOCK",
            ..,
        ] => true,
        ["VACUUM" | "CLUSTER" | "SECURITY" | "NOTIFY" | "LISTEN" | "UNLISTEN" | "WITH" | "MERGE" | "SHOW", ..] => true,
        ["CREATE", "OR", "REPLACE", what, ..] | ["CREATE" | "ALTER" | "DROP", what, ..] if SHORT.contains(what) => true,
        ["CREATE", "OR", "REPLACE", "VIEW" | "TRIGGER" | "RECURSIVE", ..] => true,
        ["CREATE" | "DROP", "VIEW" | "TRIGGER" | "MATERIALIZED" | "CONSTRAINT" | "INDEX" | "UNIQUE" | "OWNED", ..] => {
            true
        }
        ["ALTER", "VIEW" | "MATERIALIZED" | "TRIGGER" | "DEFAULT" | "INDEX", ..] => true,
        ["CREATE", "TABLE" | "UNLOGGED", ..] => !case.words.has("REFERENCES"),
        ["ALTER", "DATABASE" | "SYSTEM", ..] => true,
        _ => false,
    }
}
