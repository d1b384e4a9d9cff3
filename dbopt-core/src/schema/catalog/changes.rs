//! What has to be done so that one state becomes another.

use super::model::{Catalog, Kind, Object, is_told_by_parts};
use super::{attributes, columns, enums, tables};

/// Statements that belong together, and what to do if they are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The statements.
    pub sql: Vec<String>,
    /// What to try instead, such as to drop a view and make it again where it cannot be replaced.
    pub instead: Vec<String>,
    /// What somebody has to know or to do, as a comment of the script.
    pub note: Option<String>,
}

impl Change {
    pub(super) fn new(sql: Vec<String>) -> Change {
        Change { sql, instead: Vec::new(), note: None }
    }

    pub(super) fn one(sql: impl Into<String>) -> Change {
        Change::new(vec![sql.into()])
    }

    pub(super) fn noting(mut self, note: impl Into<String>) -> Change {
        self.note = Some(note.into());
        self
    }
}

/// What to do to `current` so that it becomes `before`, in an order that mostly works: what is left over is dropped, what is missing is
/// made, what is different is changed.
pub fn changes(before: &Catalog, current: &Catalog) -> Vec<Change> {
    let mut found = Vec::new();
    for object in current.objects().rev().filter(|object| before.find(object.kind, &object.name).is_none()) {
        let with_its_owner = object.of.as_ref().is_some_and(|of| is_gone(before, current, of));
        if !with_its_owner {
            found.extend(drop(object));
        }
    }
    for object in before.objects() {
        match current.find(object.kind, &object.name) {
            None => found.extend(create(object, before, current)),
            Some(now) => found.extend(alter(object, now, current)),
        }
    }
    found
}

/// Whether what an object is a part of is to be dropped itself.
fn is_gone(before: &Catalog, current: &Catalog, of: &str) -> bool {
    owner(current, of).is_some_and(|owner| before.find(owner.kind, &owner.name).is_none())
}

fn owner<'a>(catalog: &'a Catalog, of: &str) -> Option<&'a Object> {
    [Kind::Table, Kind::View, Kind::MaterializedView, Kind::Enum, Kind::Type, Kind::Domain]
        .into_iter()
        .find_map(|kind| catalog.find(kind, of))
}

fn drop(object: &Object) -> Option<Change> {
    match object.kind {
        Kind::Label => None,
        _ if object.drop.is_empty() => None,
        _ => Some(Change::one(object.drop.clone())),
    }
}

fn create(object: &Object, before: &Catalog, current: &Catalog) -> Option<Change> {
    let of = object.of.as_deref();
    // A table is made with its columns, a type with its attributes, an enum with its labels.
    let inside = matches!(object.kind, Kind::Column | Kind::Attribute | Kind::Label);
    if inside && of.is_none_or(|of| owner(current, of).is_none())
        || object.create.is_empty()
        || object.kind == Kind::Label
    {
        return None;
    }
    let change = Change::one(object.create.clone());
    Some(match object.kind {
        Kind::Table => change.noting(format!("the rows that {} had are not restored", object.name)),
        Kind::Column if object.part("generated").is_none() => columns::create(object, before),
        Kind::Sequence => change.noting(format!("{} begins anew: set it with setval", object.name)),
        _ => change,
    })
}

fn alter(was: &Object, is: &Object, current: &Catalog) -> Vec<Change> {
    let mut found = match was.kind {
        Kind::Column => columns::alter(was, is, current),
        Kind::Attribute => columns::alter_attribute(was, is),
        Kind::Table => tables::alter(was, is),
        Kind::Enum => enums::alter(was, is, current),
        Kind::Domain => attributes::domain(was, is),
        Kind::Sequence => attributes::sequence(was, is),
        Kind::Trigger if was.create == is.create => attributes::trigger(was, is),
        Kind::Type if was.part("composite").is_some() => Vec::new(),
        kind if was.create != is.create && !is_told_by_parts(kind) => vec![replace(was, is)],
        _ => Vec::new(),
    };
    found.extend(attributes::common(was, is));
    found
}

/// Makes an object anew; one that can be replaced in place keeps what depends on it.
fn replace(was: &Object, is: &Object) -> Change {
    let anew = vec![is.drop.clone(), was.create.clone()];
    match was.kind {
        Kind::View | Kind::Routine | Kind::Rule => {
            let sql = if was.kind == Kind::View {
                was.create.replacen("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
            } else {
                was.create.clone()
            };
            Change { sql: vec![sql], instead: anew, note: None }
        }
        _ => Change::new(anew),
    }
}
