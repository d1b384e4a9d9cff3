//! Constraints on tables that have rows.

use sqlparser::ast::{AlterTableOperation, ColumnOption, TableConstraint};

use super::Rule;
use super::context::{Case, plain};

pub(super) const RULES: &[Rule] = &[FOREIGN_KEY, CHECK, UNIQUE, EXCLUDE, VALIDATED_HERE];

const FOREIGN_KEY: Rule = Rule {
    name: "foreign-key-not-valid",
    why: "every row is looked up while nobody writes either table",
    instead: "ADD CONSTRAINT .. FOREIGN KEY .. NOT VALID, and VALIDATE CONSTRAINT in the next migration",
    check: |case| {
        let mut found = added(case, |constraint| matches!(constraint, TableConstraint::ForeignKey(_)), "a foreign key");
        found.extend(in_columns(case, |option| matches!(option, ColumnOption::ForeignKey(_)), "a foreign key"));
        found
    },
};

const CHECK: Rule = Rule {
    name: "check-not-valid",
    why: "every row is looked at while nobody reads or writes the table",
    instead: "ADD CONSTRAINT .. CHECK .. NOT VALID, and VALIDATE CONSTRAINT in the next migration",
    check: |case| {
        let mut found = added(case, |constraint| matches!(constraint, TableConstraint::Check(_)), "a check");
        found.extend(in_columns(case, |option| matches!(option, ColumnOption::Check(_)), "a check"));
        found
    },
};

const UNIQUE: Rule = Rule {
    name: "unique-using-index",
    why: "its index is built while nobody reads or writes the table",
    instead: "CREATE UNIQUE INDEX CONCURRENTLY in a migration of its own, then ADD CONSTRAINT .. UNIQUE (or PRIMARY KEY) USING INDEX",
    check: |case| {
        added(
            case,
            |constraint| matches!(constraint, TableConstraint::Unique(_) | TableConstraint::PrimaryKey(_)),
            "a unique constraint",
        )
    },
};

const EXCLUDE: Rule = Rule {
    name: "exclude",
    why: "its index is built while nobody reads or writes the table, and there is no way to build it beside them",
    instead: "make it with the table, or in a maintenance window",
    check: |case| {
        added(case, |constraint| matches!(constraint, TableConstraint::Exclude(_)), "an exclusion constraint")
    },
};

const VALIDATED_HERE: Rule = Rule {
    name: "validate-apart",
    why: "the lock of ADD CONSTRAINT is held while every row is looked at: NOT VALID has gained nothing",
    instead: "put VALIDATE CONSTRAINT into the next migration",
    check: |case| {
        case.operations(|operation, table| match operation {
            AlterTableOperation::ValidateConstraint { name }
                if case.context.was_added_here(table, &plain(&name.to_string())) =>
            {
                Some(format!("{name} of {table} is added and validated in one transaction"))
            }
            _ => None,
        })
    },
};

fn added(case: &Case<'_>, wanted: impl Fn(&TableConstraint) -> bool, what: &str) -> Vec<String> {
    case.operations(|operation, table| match operation {
        AlterTableOperation::AddConstraint { constraint, not_valid: false } if wanted(constraint) => {
            Some(format!("{table} gets {what}, and its rows are checked"))
        }
        _ => None,
    })
}

fn in_columns(case: &Case<'_>, wanted: impl Fn(&ColumnOption) -> bool, what: &str) -> Vec<String> {
    case.operations(|operation, table| match operation {
        AlterTableOperation::AddColumn { column_def, .. }
            if column_def.options.iter().any(|option| wanted(&option.option)) =>
        {
            Some(format!("the new column {} of {table} has {what}, and the rows are checked", column_def.name))
        }
        _ => None,
    })
}
