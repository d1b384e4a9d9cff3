//! Rows that are read and written.

use sqlparser::ast::{AlterTableOperation, BinaryOperator, Expr, Statement as Parsed};

use super::Rule;
use super::context::{Case, plain};

pub(super) const RULES: &[Rule] = &[BACKFILL, UNDER_LOCK];

const BACKFILL: Rule = Rule {
    name: "backfill",
    why: "every row is locked and written in one transaction; writers wait, and the table grows to twice its size",
    instead: "change a few thousand rows at a time, from a program of your own, outside of the migration",
    check: |case| match written(case) {
        Some(table) if !is_bounded(case) => vec![format!("every row of {table} may be written")],
        _ => Vec::new(),
    },
};

const UNDER_LOCK: Rule = Rule {
    name: "work-under-lock",
    why: "an ALTER TABLE before it keeps everybody out of its table until this has ended, too",
    instead: "put it into a migration of its own, before or after",
    check: |case| {
        let Some(table) = case.context.held().iter().next() else { return Vec::new() };
        let words = &case.words;
        let first = words.upper.first().map(String::as_str).unwrap_or_default();
        let works = match first {
            "UPDATE" | "DELETE" => written(case).is_some_and(|_| !is_bounded(case)),
            "INSERT" => words.has("SELECT"),
            "SELECT" => words.has("FROM"),
            "WITH" | "MERGE" | "REFRESH" => true,
            "CREATE" => words.has("AS") && (words.has("TABLE") || words.has("MATERIALIZED")),
            _ => validates(case),
        };
        if works {
            vec![format!("{table} is locked while this runs: {}", case.statement.summary())]
        } else {
            Vec::new()
        }
    },
};

/// The table that was there before, and whose rows are changed.
fn written(case: &Case<'_>) -> Option<String> {
    let at = match case.words.upper.first().map(String::as_str) {
        Some("UPDATE") => case.words.skip(1, &["ONLY"]),
        Some("DELETE") => case.words.skip(2, &["ONLY"]),
        _ => return None,
    };
    let (table, _) = case.words.name_at(at)?;
    (!case.context.is_new(&plain(&table))).then_some(table)
}

/// Whether the rows are those of some value: how many that are nobody can read, but all of them would be said otherwise.
fn is_bounded(case: &Case<'_>) -> bool {
    match &case.parsed {
        Some(Parsed::Update(update)) => update.selection.as_ref().is_some_and(compares_with_value),
        Some(Parsed::Delete(delete)) => delete.selection.as_ref().is_some_and(compares_with_value),
        _ => false,
    }
}

fn compares_with_value(condition: &Expr) -> bool {
    match condition {
        Expr::Nested(inner) => compares_with_value(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            compares_with_value(left) || compares_with_value(right)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
            compares_with_value(left) && compares_with_value(right)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => is_value(left) != is_value(right),
        Expr::InList { list, negated: false, .. } => list.iter().all(is_value),
        Expr::Between { negated: false, low, high, .. } => is_value(low) && is_value(high),
        _ => false,
    }
}

fn is_value(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::TypedString(_) => true,
        Expr::Cast { expr, .. } | Expr::UnaryOp { expr, .. } | Expr::Nested(expr) => is_value(expr),
        _ => false,
    }
}

/// Reads a whole table, in its users' way or not.
fn validates(case: &Case<'_>) -> bool {
    let found = case.operations(|operation, table| match operation {
        // The one whose own lock it is has a rule of its own.
        AlterTableOperation::ValidateConstraint { name } => {
            (!case.context.was_added_here(table, &plain(&name.to_string()))).then(String::new)
        }
        _ => None,
    });
    !found.is_empty()
}
