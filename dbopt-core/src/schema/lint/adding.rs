//! New columns.

use sqlparser::ast::{AlterTableOperation, ColumnDef, ColumnOption, DataType, Expr, GeneratedAs, Visit, Visitor};
use std::ops::ControlFlow;

use super::Rule;
use super::context::Case;

pub(super) const RULES: &[Rule] = &[VOLATILE_DEFAULT, NOT_NULL, INDEXED];

const VOLATILE_DEFAULT: Rule = Rule {
    name: "volatile-default",
    why: "every row is written anew, and nobody reads or writes the table meanwhile",
    instead: "add the column without it, set the default in a second statement, and fill the rows in batches",
    check: |case| {
        of_columns(case, |column| {
            let rewrites = column.options.iter().find_map(|option| rewriting(&option.option));
            let serial = matches!(&column.data_type, DataType::Custom(name, _) if is_serial(&name.to_string()));
            let why = rewrites.or_else(|| serial.then(|| "numbers every row".to_owned()))?;
            Some(format!("the new column {} {why}", column.name))
        })
    },
};

const NOT_NULL: Rule = Rule {
    name: "not-null-without-default",
    why: "it fails as soon as the table has a row",
    instead: "give it a default, or add it nullable, fill it, and set NOT NULL with a validated check",
    check: |case| {
        of_columns(case, |column| {
            let has = |wanted: fn(&ColumnOption) -> bool| column.options.iter().any(|option| wanted(&option.option));
            let filled = has(|option| matches!(option, ColumnOption::Default(_) | ColumnOption::Generated { .. }));
            let not_null = has(|option| matches!(option, ColumnOption::NotNull));
            (not_null && !filled)
                .then(|| format!("the new column {} must not be null, and has no default", column.name))
        })
    },
};

const INDEXED: Rule = Rule {
    name: "unique-column",
    why: "the index is built while nobody reads or writes the table",
    instead: "add the column, CREATE UNIQUE INDEX CONCURRENTLY in a migration of its own, then ADD CONSTRAINT .. USING INDEX",
    check: |case| {
        of_columns(case, |column| {
            let unique =
                |option: &ColumnOption| matches!(option, ColumnOption::Unique(_) | ColumnOption::PrimaryKey(_));
            let found = column.options.iter().any(|option| unique(&option.option));
            found.then(|| format!("the new column {} is unique", column.name))
        })
    },
};

fn of_columns(case: &Case<'_>, check: impl Fn(&ColumnDef) -> Option<String>) -> Vec<String> {
    case.operations(|operation, table| match operation {
        AlterTableOperation::AddColumn { column_def, .. } => check(column_def).map(|what| format!("{what} ({table})")),
        _ => None,
    })
}

fn is_serial(kind: &str) -> bool {
    ["serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"].contains(&kind.to_lowercase().as_str())
}

/// Why an option has every row written.
fn rewriting(option: &ColumnOption) -> Option<String> {
    match option {
        ColumnOption::Default(expr) => {
            volatile(expr).map(|function| format!("has the default {function}(), which may differ from row to row"))
        }
        ColumnOption::Generated { generation_expr: Some(_), .. } => Some("is computed for every row".to_owned()),
        ColumnOption::Generated { generated_as: GeneratedAs::Always | GeneratedAs::ByDefault, .. } => {
            Some("numbers every row".to_owned())
        }
        _ => None,
    }
}

/// Functions whose value is the same for all rows of a statement; of any other nobody knows.
const STABLE: [&str; 15] = [
    "now",
    "transaction_timestamp",
    "statement_timestamp",
    "current_timestamp",
    "current_date",
    "current_time",
    "localtime",
    "localtimestamp",
    "current_user",
    "session_user",
    "current_setting",
    "to_timestamp",
    "jsonb_build_object",
    "array",
    "date_trunc",
];

fn volatile(expr: &Expr) -> Option<String> {
    struct Calls;
    impl Visitor for Calls {
        type Break = String;

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
            match expr {
                Expr::Function(function) => {
                    let name = function.name.to_string().to_lowercase();
                    if STABLE.contains(&name.trim_start_matches("pg_catalog.")) {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(name)
                    }
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match expr.visit(&mut Calls) {
        ControlFlow::Break(name) => Some(name),
        ControlFlow::Continue(()) => None,
    }
}
