//! What is locked for how long.

use sqlparser::ast::{Set, Statement as Parsed};

use super::Rule;

pub(super) const RULES: &[Rule] = &[NO_TIMEOUT, MANY_TABLES, LOCK];

const NO_TIMEOUT: Rule = Rule {
    name: "lock-timeout",
    why: "it waits for a lock without end, and everybody queues behind it",
    instead: "leave lock_timeout to schema.lock_timeout, or set it to a few seconds",
    check: |case| {
        let is_set = matches!(case.parsed, Some(Parsed::Set(Set::SingleAssignment { .. })) | None);
        let text = case.words.upper.concat();
        let endless =
            ["LOCK_TIMEOUT=0", "LOCK_TIMEOUTTO0", "LOCK_TIMEOUT='0", "LOCK_TIMEOUTTO'0", "LOCK_TIMEOUTTODEFAULT"];
        let found = is_set && case.begins_with(&["SET"]) && endless.iter().any(|end| text.contains(end));
        if found { vec!["lock_timeout is turned off".to_owned()] } else { Vec::new() }
    },
};

const MANY_TABLES: Rule = Rule {
    name: "one-table",
    why: "the lock on the first table is held while the second one is waited for; two programs that do so the other way round wait for each other",
    instead: "put each table into a migration of its own",
    check: |case| {
        let Some((_, table)) = case.alters() else { return Vec::new() };
        let mut others = case.context.locked().iter().filter(|other| **other != table);
        let known = case.context.locked().contains(&table);
        match others.next() {
            Some(other) if !known => vec![format!("{table} is locked while {other} is still locked")],
            _ => Vec::new(),
        }
    },
};

const LOCK: Rule = Rule {
    name: "lock-table",
    why: "everybody waits until the migration ends",
    instead: "let the statements take the locks they need",
    check: |case| if case.begins_with(&["LOCK"]) { vec![case.statement.summary()] } else { Vec::new() },
};
