//! What a rule sees: the statement, and what the statements before it have made.

use std::collections::{BTreeMap, BTreeSet};

use sqlparser::ast::{
    AlterTable, AlterTableOperation, BinaryOperator, Expr, ObjectName, Statement as Parsed, TableConstraint,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::schema::script::{Statement, Words};

/// What is known from the statements before.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// Tables that this migration has made: nobody uses them yet.
    created: BTreeSet<String>,
    /// Existing tables that this migration keeps everybody out of.
    locked: BTreeSet<String>,
    /// Those of them that others cannot write, or not even read, until it ends.
    held: BTreeSet<String>,
    /// Constraints that this migration has added without looking at the rows.
    added: BTreeSet<(String, String)>,
    /// The columns of `CHECK (column IS NOT NULL)`, by table and constraint, of all migrations.
    not_null: BTreeMap<(String, String), BTreeSet<String>>,
    /// Those of these constraints that are validated.
    validated: BTreeSet<(String, String)>,
}

/// What a statement changes about that.
pub(super) enum Fact {
    Created(String),
    Locked(String),
    Held(String),
    Unchecked(String, String),
    NotNull(String, String, BTreeSet<String>),
    Validated(String, String),
    Dropped(String, String),
}

impl Context {
    pub(super) fn begin(&mut self) {
        self.created.clear();
        self.locked.clear();
        self.held.clear();
        self.added.clear();
    }

    pub(super) fn learn(&mut self, facts: Vec<Fact>) {
        for fact in facts {
            match fact {
                Fact::Created(table) => drop(self.created.insert(table)),
                Fact::Locked(table) => drop(self.locked.insert(table)),
                Fact::Held(table) => drop(self.held.insert(table)),
                Fact::Unchecked(table, name) => drop(self.added.insert((table, name))),
                Fact::NotNull(table, name, columns) => drop(self.not_null.insert((table, name), columns)),
                Fact::Validated(table, name) => drop(self.validated.insert((table, name))),
                Fact::Dropped(table, name) => {
                    let constraint = (table, name);
                    self.validated.remove(&constraint);
                    self.not_null.remove(&constraint);
                }
            }
        }
    }

    pub(super) fn is_new(&self, table: &str) -> bool {
        self.created.contains(table)
    }

    pub(super) fn locked(&self) -> &BTreeSet<String> {
        &self.locked
    }

    pub(super) fn held(&self) -> &BTreeSet<String> {
        &self.held
    }

    pub(super) fn was_added_here(&self, table: &str, constraint: &str) -> bool {
        self.added.contains(&(table.to_owned(), constraint.to_owned()))
    }

    pub(super) fn is_proved_not_null(&self, table: &str, column: &str) -> bool {
        let says_so = |(constraint, columns): (&(String, String), &BTreeSet<String>)| {
            constraint.0 == table && columns.contains(column) && self.validated.contains(constraint)
        };
        self.not_null.iter().any(says_so)
    }
}

/// A statement before a rule.
pub(super) struct Case<'a> {
    pub(super) statement: Statement<'a>,
    pub(super) context: &'a Context,
    pub(super) words: Words,
    /// None if it is not understood.
    pub(super) parsed: Option<Parsed>,
}

impl<'a> Case<'a> {
    pub(super) fn new(statement: Statement<'a>, context: &'a Context) -> Self {
        let parsed = Parser::parse_sql(&PostgreSqlDialect {}, statement.sql).ok();
        let parsed = parsed.and_then(|mut all| if all.len() == 1 { all.pop() } else { None });
        Case { statement, context, words: Words::of(statement.sql), parsed }
    }

    /// The statement, if it alters a table that was there before.
    pub(super) fn alters(&self) -> Option<(&AlterTable, String)> {
        match &self.parsed {
            Some(Parsed::AlterTable(alter)) => {
                let table = name(&alter.name);
                (!self.context.is_new(&table)).then_some((alter, table))
            }
            _ => None,
        }
    }

    /// What `check` says of each operation on a table that was there before.
    pub(super) fn operations(&self, check: impl Fn(&AlterTableOperation, &str) -> Option<String>) -> Vec<String> {
        let Some((alter, table)) = self.alters() else { return Vec::new() };
        alter.operations.iter().filter_map(|operation| check(operation, &table)).collect()
    }

    pub(super) fn begins_with(&self, words: &[&str]) -> bool {
        self.words.are(0, words)
    }

    /// What the statements after it have to know.
    pub(super) fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        match &self.parsed {
            Some(Parsed::CreateTable(create)) => facts.push(Fact::Created(name(&create.name))),
            Some(Parsed::AlterTable(alter)) => {
                let table = name(&alter.name);
                if !self.context.is_new(&table) {
                    facts.push(Fact::Locked(table.clone()));
                    let light = |operation| matches!(operation, &AlterTableOperation::ValidateConstraint { .. });
                    if !alter.operations.iter().all(light) {
                        facts.push(Fact::Held(table.clone()));
                    }
                }
                for operation in &alter.operations {
                    facts.extend(of_operation(operation, &table));
                }
            }
            Some(Parsed::CreateTrigger(trigger)) => {
                let table = name(&trigger.table_name);
                if !self.context.is_new(&table) {
                    facts.push(Fact::Held(table));
                }
            }
            Some(Parsed::CreateView(create)) => facts.push(Fact::Created(name(&create.name))),
            // What the parser does not know may be recognised all the same.
            None if self.begins_with(&["CREATE", "TABLE"]) => {
                let at = self.words.skip(2, &["IF", "NOT", "EXISTS"]);
                facts.extend(self.words.name_at(at).map(|(table, _)| Fact::Created(plain(&table))));
            }
            _ => {}
        }
        facts
    }
}

fn of_operation(operation: &AlterTableOperation, table: &str) -> Vec<Fact> {
    let mut facts = Vec::new();
    match operation {
        AlterTableOperation::AddConstraint { constraint, not_valid } => {
            let constraint_name = match constraint {
                TableConstraint::Check(check) => check.name.as_ref(),
                TableConstraint::ForeignKey(key) => key.name.as_ref(),
                _ => None,
            };
            let Some(constraint_name) = constraint_name.map(|ident| plain(&ident.to_string())) else { return facts };
            if *not_valid {
                facts.push(Fact::Unchecked(table.to_owned(), constraint_name.clone()));
            }
            if let TableConstraint::Check(check) = constraint {
                let columns = not_null_columns(&check.expr).into_iter().collect();
                facts.push(Fact::NotNull(table.to_owned(), constraint_name.clone(), columns));
                if !not_valid {
                    facts.push(Fact::Validated(table.to_owned(), constraint_name));
                }
            }
        }
        AlterTableOperation::ValidateConstraint { name } => {
            facts.push(Fact::Validated(table.to_owned(), plain(&name.to_string())));
        }
        AlterTableOperation::DropConstraint { name, .. } => {
            facts.push(Fact::Dropped(table.to_owned(), plain(&name.to_string())));
        }
        _ => {}
    }
    facts
}

/// The columns that an expression says are not null.
fn not_null_columns(expr: &Expr) -> Vec<String> {
    match expr {
        Expr::IsNotNull(inner) => vec![plain(&inner.to_string())],
        Expr::Nested(inner) => not_null_columns(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            [not_null_columns(left), not_null_columns(right)].concat()
        }
        _ => Vec::new(),
    }
}

/// A name as it is compared: the public schema may be left out, and so may quotes.
pub(super) fn name(name: &ObjectName) -> String {
    plain(&name.to_string())
}

pub(super) fn plain(name: &str) -> String {
    let part = |part: &str| match part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
        Some(quoted) => quoted.to_owned(),
        None => part.to_lowercase(),
    };
    let parts: Vec<String> = name.split('.').map(part).collect();
    match parts.as_slice() {
        [schema, rest @ ..] if schema == "public" && !rest.is_empty() => rest.join("."),
        all => all.join("."),
    }
}
