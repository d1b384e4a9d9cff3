//! What is gone afterwards.

use super::Rule;
use crate::schema::loss::losses;
use crate::schema::script::Script;

pub(super) const RULES: &[Rule] = &[DROPS];

const DROPS: Rule = Rule {
    name: "drops-data",
    why: "no script brings the rows back, and code that still runs fails",
    instead: "stop using it a release before; go forward with --backup; then allow it with that reason",
    check: |case| {
        let Ok(script) = Script::parse(case.statement.sql) else { return Vec::new() };
        let of_new = |table: &Option<String>| {
            table.as_deref().is_some_and(|table| case.context.is_new(&super::context::plain(table)))
        };
        // A change of a type has a rule of its own; rows that are deleted on purpose are no accident.
        let counts = |what: &str| !what.starts_with("what values") && !what.starts_with("rows of");
        losses(&script)
            .into_iter()
            .filter(|loss| !of_new(&loss.table) && counts(&loss.what))
            .map(|loss| loss.what)
            .collect()
    },
};
