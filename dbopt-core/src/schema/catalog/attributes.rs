//! What objects of several kinds have: an owner, a comment, rights.

use super::changes::Change;
use super::model::{Kind, Object};

/// Owner first: it decides what rights are there by themselves.
pub(super) fn common(was: &Object, is: &Object) -> Vec<Change> {
    let mut found = Vec::new();
    if let Some(owner) = was.part("owner").filter(|owner| is.part("owner") != Some(owner)) {
        found.push(Change::one(format!("ALTER {} OWNER TO {owner}", is.on)));
    }
    if was.part("grants") != is.part("grants") && was.kind != Kind::DefaultPrivileges {
        found.extend(grants(was, is));
    }
    if was.part("comment") != is.part("comment") {
        let text = was.part("comment").map_or("NULL".to_owned(), literal);
        found.push(Change::one(format!("COMMENT ON {} IS {text}", is.on)));
    }
    found
}

/// Each right is `PRIVILEGE|grantee|may pass it on`.
fn grants(was: &Object, is: &Object) -> Vec<Change> {
    let Some(on) = &is.grant_on else { return Vec::new() };
    let list = |object: &Object| -> Vec<(String, String, bool)> {
        let rights = object.part("grants").unwrap_or_default().lines().filter_map(|line| {
            let mut fields = line.split('|');
            Some((fields.next()?.to_owned(), fields.next()?.to_owned(), fields.next()? == "t"))
        });
        rights.collect()
    };
    let (before, now) = (list(was), list(is));
    let mut found = Vec::new();
    for (right, to, _) in now.iter().filter(|right| !before.contains(right)) {
        found.push(Change::one(format!("REVOKE {right} ON {on} FROM {to}")));
    }
    for (right, to, passes) in before.iter().filter(|right| !now.contains(right)) {
        let passes = if *passes { " WITH GRANT OPTION" } else { "" };
        found.push(Change::one(format!("GRANT {right} ON {on} TO {to}{passes}")));
    }
    found
}

pub(super) fn domain(was: &Object, is: &Object) -> Vec<Change> {
    let domain = format!("ALTER DOMAIN {}", is.name);
    if was.part("type") != is.part("type") {
        return vec![Change::new(vec![is.drop.clone(), was.create.clone()])];
    }
    let mut found = Vec::new();
    if was.part("default") != is.part("default") {
        let set = was.part("default").map_or("DROP DEFAULT".to_owned(), |default| format!("SET DEFAULT {default}"));
        found.push(Change::one(format!("{domain} {set}")));
    }
    if was.part("not_null") != is.part("not_null") {
        let word = if was.part("not_null").is_some() { "SET" } else { "DROP" };
        found.push(Change::one(format!("{domain} {word} NOT NULL")));
    }
    found
}

pub(super) fn sequence(was: &Object, is: &Object) -> Vec<Change> {
    let sequence = format!("ALTER SEQUENCE {}", is.name);
    let mut found = Vec::new();
    if let Some(definition) = was.part("definition").filter(|definition| is.part("definition") != Some(definition)) {
        found.push(Change::one(format!("{sequence} {definition}")));
    }
    if was.part("owned_by") != is.part("owned_by") {
        found.push(Change::one(format!("{sequence} OWNED BY {}", was.part("owned_by").unwrap_or("NONE"))));
    }
    found
}

pub(super) fn trigger(was: &Object, is: &Object) -> Vec<Change> {
    let (Some(table), Some(enabled)) = (&is.of, was.part("enabled").filter(|e| is.part("enabled") != Some(e))) else {
        return Vec::new();
    };
    vec![Change::one(format!("ALTER TABLE {table} {enabled} TRIGGER {}", is.local))]
}

/// Text in quotes, whatever `standard_conforming_strings` is.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}
