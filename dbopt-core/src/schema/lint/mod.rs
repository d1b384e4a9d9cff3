//! What is dangerous about a migration while others use the database: rule, reason, and how it is done safely.
//!
//! A rule is a value of [`Rule`] in the file of its family, and its name in that file's `RULES`. An exception stands before the statement,
//! with its reason: `-- dbopt: allow(drop-column) nobody reads it since release 42`.

mod adding;
mod changing;
mod constraints;
mod context;
mod dropping;
mod exceptions;
mod indexes;
mod locks;
mod rows;
#[cfg(test)]
mod tests;
mod unknown;

use super::migration::{Direction, Migration};
use super::script::Script;
use context::{Case, Context};

/// Something to look for.
#[derive(Debug)]
pub struct Rule {
    /// Its name in exceptions.
    pub name: &'static str,
    /// Why it is dangerous.
    pub why: &'static str,
    /// How it is done safely.
    pub instead: &'static str,
    check: fn(&Case<'_>) -> Vec<String>,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The script.
    pub file: String,
    /// The line of the statement.
    pub line: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// What was found.
    pub what: String,
    /// Why it is dangerous.
    pub why: &'static str,
    /// How it is done safely.
    pub instead: &'static str,
    /// The reason of the exception that allows it.
    pub allowed: Option<String>,
}

/// All rules, by family.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    [
        adding::RULES,
        changing::RULES,
        constraints::RULES,
        dropping::RULES,
        indexes::RULES,
        locks::RULES,
        rows::RULES,
        unknown::RULES,
        exceptions::RULES,
    ]
    .into_iter()
    .flatten()
}

/// Looks at the forward scripts of `migrations`, in their order; those before the first one that `wanted` accepts only tell what is
/// there already.
pub fn lint(migrations: &[Migration], wanted: impl Fn(&Migration) -> bool) -> Vec<Finding> {
    let mut context = Context::default();
    let mut found = Vec::new();
    for migration in migrations {
        let Ok(script) = Script::parse(&migration.up) else { continue };
        context.begin();
        let file = migration.file(Direction::Up);
        for statement in script.statements() {
            let case = Case::new(statement, &context);
            if wanted(migration) {
                found.extend(judge(&case, &file));
            }
            let facts = case.facts();
            context.learn(facts);
        }
    }
    found
}

fn judge(case: &Case<'_>, file: &str) -> Vec<Finding> {
    let exceptions = exceptions::of(&case.statement);
    let mut found = Vec::new();
    for rule in rules() {
        let allowed = exceptions.iter().find(|exception| exception.rules.iter().any(|name| name == rule.name));
        found.extend((rule.check)(case).into_iter().map(|what| Finding {
            file: file.to_owned(),
            line: case.statement.line,
            rule: rule.name,
            what,
            why: rule.why,
            instead: rule.instead,
            allowed: allowed.map(|exception| exception.reason.clone()).filter(|reason| !reason.is_empty()),
        }));
    }
    found
}
