//! Names that a migration has changed, back to what they were.

use super::changes::Change;
use super::model::{Catalog, Kind, Object};

/// The statements that give objects of `current` the names they have in `before`.
///
/// Those of schemas, tables and types come first and alone: what is in them is looked at again afterwards, under its right name.
pub fn renames(before: &Catalog, current: &Catalog) -> Vec<Change> {
    let pairs: Vec<(&Object, &Object)> = before
        .objects()
        .filter_map(|was| current.find_id(was).map(|is| (was, is)))
        .filter(|(was, is)| was.local != is.local || was.schema != is.schema)
        .collect();
    for top in [true, false] {
        let found: Vec<Change> = pairs
            .iter()
            .filter(|(was, _)| was.of.is_none() == top)
            .filter_map(|(was, is)| rename(was, is).map(|sql| with_room(before, current, was, sql)))
            .collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// Drops first what the migration has put under that name.
fn with_room(before: &Catalog, current: &Catalog, was: &Object, sql: Vec<String>) -> Change {
    let taken = current.find(was.kind, &was.name).filter(|other| before.find_id(other).is_none());
    let first = taken.map(|other| other.drop.clone());
    Change::new(first.into_iter().chain(sql).collect())
}

fn rename(was: &Object, is: &Object) -> Option<Vec<String>> {
    let of = is.of.as_deref().unwrap_or_default();
    let (old, new) = (&is.local, &was.local);
    Some(match is.kind {
        Kind::Column => vec![format!("ALTER TABLE {of} RENAME COLUMN {old} TO {new}")],
        Kind::Attribute => vec![format!("ALTER TYPE {of} RENAME ATTRIBUTE {old} TO {new}")],
        Kind::Constraint => vec![format!("ALTER TABLE {of} RENAME CONSTRAINT {old} TO {new}")],
        Kind::DomainConstraint => vec![format!("ALTER DOMAIN {of} RENAME CONSTRAINT {old} TO {new}")],
        Kind::Label => vec![format!("ALTER TYPE {of} RENAME VALUE {old} TO {new}")],
        Kind::Trigger | Kind::Rule | Kind::Policy => vec![format!("ALTER {} RENAME TO {new}", is.on)],
        Kind::Extension | Kind::DefaultPrivileges | Kind::Other => return None,
        _ => {
            let mut sql = Vec::new();
            let mut on = is.on.clone();
            if was.local != is.local {
                sql.push(format!("ALTER {on} RENAME TO {new}"));
                on = renamed(&on, is, new);
            }
            if let (Some(from), Some(to)) = (&is.schema, &was.schema)
                && from != to
            {
                sql.push(format!("ALTER {on} SET SCHEMA {to}"));
            }
            sql
        }
    })
}

/// `TABLE s.new` as `TABLE s.old`; of a routine, the arguments stay.
fn renamed(on: &str, is: &Object, new: &str) -> String {
    let within = is.schema.as_ref().map_or(String::new(), |schema| format!("{schema}."));
    on.replacen(&format!("{within}{}", is.local), &format!("{within}{new}"), 1)
}
