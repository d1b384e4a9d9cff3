//! The objects of a database.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What an object is. The order is the one in which objects are made; they are dropped in reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A schema.
    Schema,
    /// An extension.
    Extension,
    /// An enum.
    Enum,
    /// A label of an enum.
    Label,
    /// A domain, without its constraints.
    Domain,
    /// A constraint of a domain.
    DomainConstraint,
    /// A range or a composite type.
    Type,
    /// An attribute of a composite type.
    Attribute,
    /// A sequence that is not an identity column's.
    Sequence,
    /// A table, partitioned or not.
    Table,
    /// A column of a table.
    Column,
    /// A function, procedure or aggregate.
    Routine,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// A primary key, unique, check, exclusion or foreign key constraint.
    Constraint,
    /// An index that belongs to no constraint.
    Index,
    /// Extended statistics.
    Statistics,
    /// A trigger.
    Trigger,
    /// A rule.
    Rule,
    /// A row security policy.
    Policy,
    /// Default privileges.
    DefaultPrivileges,
    /// What no statement is derived for: it is noticed, and told.
    Other,
}

/// An object: how it is made and dropped, and what can be changed about it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// The number that it keeps when it is renamed.
    pub id: String,
    /// Its full name, quoted where needed; of a column `schema.table.column`.
    pub name: String,
    /// The schema it is in, if it is in one itself.
    #[serde(default)]
    pub schema: Option<String>,
    /// Its name without what it is in.
    pub local: String,
    /// The full name of the table, type or domain that it is a part of.
    #[serde(default)]
    pub of: Option<String>,
    /// The statement that makes it.
    #[serde(default)]
    pub create: String,
    /// The statement that drops it.
    #[serde(default)]
    pub drop: String,
    /// What stands after `COMMENT ON` and `ALTER`.
    #[serde(default)]
    pub on: String,
    /// What stands after `GRANT .. ON`, where rights can be granted.
    #[serde(default)]
    pub grant_on: Option<String>,
    /// What can be changed about it, such as `default`, `owner`, `comment`, `grants`.
    #[serde(default)]
    pub parts: BTreeMap<String, Option<String>>,
}

impl Object {
    /// A part of it, if it is set.
    pub fn part(&self, name: &str) -> Option<&str> {
        self.parts.get(name).and_then(Option::as_deref)
    }
}

/// Everything in a database that a migration may change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    objects: BTreeMap<(Kind, String), Object>,
}

impl FromIterator<Object> for Catalog {
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Self {
        Catalog { objects: objects.into_iter().map(|object| ((object.kind, object.name.clone()), object)).collect() }
    }
}

impl Catalog {
    /// Its objects, in the order in which they are made.
    pub fn objects(&self) -> impl DoubleEndedIterator<Item = &Object> {
        self.objects.values()
    }

    /// The object of that kind and name.
    pub fn find(&self, kind: Kind, name: &str) -> Option<&Object> {
        self.objects.get(&(kind, name.to_owned()))
    }

    /// The same object in another state of the same database, whatever its name is there.
    pub fn find_id(&self, object: &Object) -> Option<&Object> {
        self.objects.values().find(|other| other.kind == object.kind && other.id == object.id)
    }

    /// How `self` differs from `other`, in words; numbers of objects are no difference.
    pub fn differences(&self, other: &Catalog) -> Vec<String> {
        let mut found = Vec::new();
        for object in self.objects() {
            let name = format!("{:?} {}", object.kind, object.name).to_lowercase();
            match other.find(object.kind, &object.name) {
                None => found.push(format!("{name} is missing")),
                Some(now) => {
                    if object.create != now.create
                        && !is_told_by_parts(object.kind)
                        && object.part("composite").is_none()
                    {
                        found.push(format!(
                            "{name} is `{}` instead of `{}`",
                            one_line(&now.create),
                            one_line(&object.create)
                        ));
                    }
                    for part in
                        object.parts.keys().chain(now.parts.keys().filter(|key| !object.parts.contains_key(*key)))
                    {
                        let (was, is) = (object.part(part), now.part(part));
                        if was != is {
                            let show = |value: Option<&str>| value.map_or("nothing".to_owned(), one_line);
                            found.push(format!("{name}: {part} is {} instead of {}", show(is), show(was)));
                        }
                    }
                }
            }
        }
        for object in other.objects().filter(|object| self.find(object.kind, &object.name).is_none()) {
            found.push(format!("{:?} {} is left over", object.kind, object.name).to_lowercase());
        }
        found
    }
}

/// Whether the text that makes it holds nothing that its parts, or its columns, do not tell.
pub(super) fn is_told_by_parts(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Table | Kind::Column | Kind::Attribute | Kind::Enum | Kind::Sequence | Kind::Domain | Kind::Label
    )
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
