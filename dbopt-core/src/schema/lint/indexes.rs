//! Indexes on tables that are in use.

use sqlparser::ast::Statement as Parsed;

use super::Rule;
use super::context::name;
use crate::schema::script::{Alone, Kind};

pub(super) const RULES: &[Rule] = &[CREATE, DROP, REINDEX, UNNAMED, REFRESH];

const CREATE: Rule = Rule {
    name: "index-concurrently",
    why: "nobody writes the table while the index is built",
    instead: "CREATE INDEX CONCURRENTLY in a migration of its own, with `run_in_transaction = false` in its metadata.toml",
    check: |case| match &case.parsed {
        Some(Parsed::CreateIndex(index)) if !index.concurrently && !case.context.is_new(&name(&index.table_name)) => {
            vec![format!("an index on {} is built in its users' way", index.table_name)]
        }
        None if case.begins_with(&["CREATE"]) && case.words.upper.iter().take(3).any(|word| word == "INDEX") => {
            let beside = case.words.has("CONCURRENTLY");
            if beside { Vec::new() } else { vec![case.statement.summary()] }
        }
        _ => Vec::new(),
    },
};

const DROP: Rule = Rule {
    name: "drop-index-concurrently",
    why: "the table is locked against everybody, and they queue behind whoever reads it for long",
    instead: "DROP INDEX CONCURRENTLY in a migration of its own, with `run_in_transaction = false`",
    check: |case| {
        let found = case.begins_with(&["DROP", "INDEX"]) && !case.words.has("CONCURRENTLY");
        if found { vec![case.statement.summary()] } else { Vec::new() }
    },
};

const REINDEX: Rule = Rule {
    name: "reindex-concurrently",
    why: "nobody writes the table, and what would use the index waits, while it is built",
    instead: "REINDEX .. CONCURRENTLY in a migration of its own, with `run_in_transaction = false`",
    check: |case| {
        let found = case.begins_with(&["REINDEX"]) && !case.words.has("CONCURRENTLY");
        if found { vec![case.statement.summary()] } else { Vec::new() }
    },
};

const UNNAMED: Rule = Rule {
    name: "index-name",
    why: "cut off, it leaves an invalid index that nobody can tell from others, so it is not taken up again",
    instead: "give the index a name",
    check: |case| match case.statement.kind {
        Kind::Alone(Alone::CreateIndex { name: None, .. }) => vec![case.statement.summary()],
        _ => Vec::new(),
    },
};

const REFRESH: Rule = Rule {
    name: "refresh-concurrently",
    why: "nobody reads the materialized view while it is filled",
    instead: "REFRESH MATERIALIZED VIEW CONCURRENTLY, which needs a unique index on it",
    check: |case| {
        let found = case.begins_with(&["REFRESH"]) && !case.words.has("CONCURRENTLY");
        if found { vec![case.statement.summary()] } else { Vec::new() }
    },
};
