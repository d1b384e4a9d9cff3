//! Exceptions: `-- dbopt: allow(rule, rule) the reason`, before the statement or inside it.

use super::Rule;
use super::context::Case;
use crate::schema::script::Statement;

pub(super) const RULES: &[Rule] = &[WITHOUT_REASON, UNKNOWN];

const WITHOUT_REASON: Rule = Rule {
    name: "exception-without-reason",
    why: "whoever reads it later cannot tell whether it still holds",
    instead: "write the reason behind it: -- dbopt: allow(rule) the table has ten rows",
    check: |case| {
        let all = of(&case.statement).into_iter().filter(|exception| exception.reason.is_empty());
        all.map(|exception| format!("allow({}) has no reason, and allows nothing", exception.rules.join(", ")))
            .collect()
    },
};

const UNKNOWN: Rule = Rule {
    name: "unknown-exception",
    why: "a rule of that name does not exist, so it allows nothing",
    instead: "write the name of the rule as it was told",
    check: |case: &Case<'_>| {
        let all = of(&case.statement).into_iter().flat_map(|exception| exception.rules);
        all.filter(|name| super::rules().all(|rule| rule.name != name))
            .map(|name| format!("there is no rule {name}"))
            .collect()
    },
};

/// An exception.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exception {
    pub(super) rules: Vec<String>,
    pub(super) reason: String,
}

pub(super) fn of(statement: &Statement<'_>) -> Vec<Exception> {
    statement.lead.lines().chain(statement.sql.lines()).filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Exception> {
    let (_, comment) = line.split_once("--")?;
    let rest = comment.trim().strip_prefix("dbopt:")?.trim_start().strip_prefix("allow(")?;
    let (rules, reason) = rest.split_once(')')?;
    let rules = rules.split(',').map(|rule| rule.trim().to_owned()).filter(|rule| !rule.is_empty()).collect();
    Some(Exception { rules, reason: reason.trim().trim_start_matches([':', '-']).trim().to_owned() })
}
