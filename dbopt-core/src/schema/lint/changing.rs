//! Columns and tables that change their type or their name.

use sqlparser::ast::{AlterColumnOperation, AlterTableOperation, Statement as Parsed};

use super::Rule;
use super::context::plain;

pub(super) const RULES: &[Rule] = &[TYPE, NOT_NULL, RENAME, REWRITE];

const TYPE: Rule = Rule {
    name: "change-type",
    why: "most changes of a type write every row and index anew, while nobody reads or writes the table; and old code reads the new type",
    instead: "add a column of the new type, fill it in batches, keep both in step by a trigger, and drop the old one a release later; \
              where only a limit is widened (varchar(10) to varchar(20), to text), allow it with that reason",
    check: |case| {
        case.operations(|operation, table| match operation {
            AlterTableOperation::AlterColumn {
                column_name,
                op: AlterColumnOperation::SetDataType { data_type, .. },
            } => Some(format!("{table}.{column_name} becomes {data_type}")),
            _ => None,
        })
    },
};

const NOT_NULL: Rule = Rule {
    name: "set-not-null",
    why: "every row is looked at while nobody reads or writes the table",
    instead: "ADD CONSTRAINT .. CHECK (column IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT in the next migration, then SET NOT NULL: it \
              believes the constraint and looks at nothing",
    check: |case| {
        // In one statement constraints are dropped first, and then the rows are looked at.
        let drops = |operation: &_| matches!(operation, AlterTableOperation::DropConstraint { .. });
        let believes = !case.alters().is_some_and(|(alter, _)| alter.operations.iter().any(drops));
        case.operations(|operation, table| match operation {
            AlterTableOperation::AlterColumn { column_name, op: AlterColumnOperation::SetNotNull }
                if !believes || !case.context.is_proved_not_null(table, &plain(&column_name.to_string())) =>
            {
                Some(format!(
                    "{table}.{column_name} must not be null from now on, and no validated check says that it is not"
                ))
            }
            _ => None,
        })
    },
};

const RENAME: Rule = Rule {
    name: "rename",
    why: "code that runs still uses the old name, and fails from this moment on",
    instead: "add the new name beside the old one (a column and a trigger, or a view), move the code, and drop the old one a release later",
    check: |case| {
        let mut found = case.operations(|operation, table| match operation {
            AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                Some(format!("{table}.{old_column_name} becomes {new_column_name}"))
            }
            AlterTableOperation::RenameTable { table_name } => Some(format!("{table} is renamed: {table_name}")),
            _ => None,
        });
        let others =
            [["ALTER", "VIEW"], ["ALTER", "SCHEMA"], ["ALTER", "TYPE"], ["ALTER", "FUNCTION"], ["ALTER", "SEQUENCE"]];
        let renames = case.words.has("RENAME") || case.words.follow("SET", "SCHEMA") && case.begins_with(&["ALTER"]);
        if renames
            && (others.iter().any(|words| case.begins_with(words))
                || case.parsed.is_none() && case.begins_with(&["ALTER", "TABLE"]))
        {
            found.push(case.statement.summary());
        }
        found
    },
};

const REWRITE: Rule = Rule {
    name: "rewrite",
    why: "every row is written anew, and nobody reads or writes the table meanwhile",
    instead: "do it in a maintenance window, or fill a new table beside the old one and swap",
    check: |case| {
        let mut found = case.operations(|operation, table| match operation {
            AlterTableOperation::SetLogged | AlterTableOperation::SetUnlogged => Some(format!("{table}: {operation}")),
            _ => None,
        });
        let vacuum = matches!(case.parsed, Some(Parsed::Vacuum(_)) | None)
            && case.begins_with(&["VACUUM"])
            && case.words.has("FULL");
        let space = case.begins_with(&["ALTER", "TABLE"]) && case.words.follow("SET", "TABLESPACE");
        if vacuum || space || case.begins_with(&["CLUSTER"]) {
            found.push(case.statement.summary());
        }
        found
    },
};
