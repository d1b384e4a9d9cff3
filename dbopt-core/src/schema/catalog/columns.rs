//! Columns, and attributes of composite types.

use super::changes::Change;
use super::filler::filler;
use super::model::{Catalog, Object};

/// The rows of one that must not be null get something; what they had is lost.
pub(super) fn create(column: &Object, before: &Catalog) -> Change {
    let plain = Change::one(column.create.clone());
    let lost = format!("the values that {} had are not restored", column.name);
    let fills_itself = column.part("default").is_some() || column.part("identity").is_some();
    let wanted = column.part("not_null").is_some() && !fills_itself;
    let (Some(table), Some(value)) = (&column.of, filler(column, before).filter(|_| wanted)) else {
        return plain.noting(lost);
    };
    let filled = format!("{} DEFAULT {value} NOT NULL", column.create);
    let sql = vec![filled, format!("ALTER TABLE {table} ALTER COLUMN {} DROP DEFAULT", column.local)];
    Change { sql, instead: plain.sql, note: None }.noting(format!("{lost}: its rows get {value}"))
}

pub(super) fn alter(was: &Object, is: &Object, current: &Catalog) -> Vec<Change> {
    let Some(table) = &is.of else { return Vec::new() };
    let column = format!("ALTER TABLE {table} ALTER COLUMN {}", is.local);
    if let Some(anew) = made_anew(was, is) {
        return vec![anew];
    }
    let mut found = Vec::new();
    if was.part("generated").is_none() && is.part("generated").is_some() {
        found.push(Change::one(format!("{column} DROP EXPRESSION")));
    }
    if was.part("type") != is.part("type") || was.part("collation") != is.part("collation") {
        found.push(kind(was, is, &column));
    } else if was.part("default") != is.part("default") && is.part("generated").is_none() {
        found.push(Change::one(default(&column, was.part("default"))));
    }
    if was.part("not_null") != is.part("not_null") {
        found.push(match was.part("not_null") {
            Some(_) => not_null(was, is, &column, current),
            None => Change::one(format!("{column} DROP NOT NULL")),
        });
    }
    found.extend(identity(was, is, &column));
    for (part, set) in
        [("storage", "SET STORAGE"), ("compression", "SET COMPRESSION"), ("statistics", "SET STATISTICS")]
    {
        if let Some(value) = was.part(part).filter(|value| is.part(part) != Some(value)) {
            found.push(Change::one(format!("{column} {set} {value}")));
        }
    }
    if was.part("options") != is.part("options") {
        if let Some(options) = is.part("options") {
            let names: Vec<&str> = options.split(", ").filter_map(|pair| pair.split('=').next()).collect();
            found.push(Change::one(format!("{column} RESET ({})", names.join(", "))));
        }
        found.extend(was.part("options").map(|options| Change::one(format!("{column} SET ({options})"))));
    }
    found
}

/// Rows that have no value may have been written since, or be left by a way back before this one.
fn not_null(was: &Object, is: &Object, column: &str, current: &Catalog) -> Change {
    let plain = Change::one(format!("{column} SET NOT NULL"));
    let computed = ["generated", "identity"].iter().any(|part| was.part(part).is_some() || is.part(part).is_some());
    let (Some(table), Some(value)) = (&is.of, filler(was, current).filter(|_| !computed)) else {
        return plain.noting(format!("fails while {} has rows without a value: fill them in before", is.name));
    };
    let fill = format!("UPDATE {table} SET {0} = {value} WHERE {0} IS NULL", is.local);
    let sql = [vec![fill], plain.sql.clone()].concat();
    Change { sql, instead: plain.sql, note: None }.noting(format!("rows without a value in {} get {value}", is.name))
}

/// An expression cannot be given to a column that is there.
fn made_anew(was: &Object, is: &Object) -> Option<Change> {
    let generated = was.part("generated")?;
    (is.part("generated") != Some(generated)).then(|| Change::new(vec![is.drop.clone(), was.create.clone()]))
}

/// The default is taken away first: it may not fit the type.
fn kind(was: &Object, is: &Object, column: &str) -> Change {
    let (Some(name), Some(kind)) = (is.of.as_ref().map(|_| &is.local), was.part("type")) else {
        return Change::new(Vec::new());
    };
    let collation = was.part("collation").map_or(String::new(), |collation| format!(" COLLATE {collation}"));
    let mut sql = Vec::new();
    if is.part("default").is_some() {
        sql.push(format!("{column} DROP DEFAULT"));
    }
    sql.push(format!("{column} TYPE {kind}{collation} USING {name}::{kind}"));
    if let Some(default) = was.part("default") {
        sql.push(format!("{column} SET DEFAULT {default}"));
    }
    Change::new(sql)
}

fn default(column: &str, default: Option<&str>) -> String {
    match default {
        Some(default) => format!("{column} SET DEFAULT {default}"),
        None => format!("{column} DROP DEFAULT"),
    }
}

fn identity(was: &Object, is: &Object, column: &str) -> Option<Change> {
    let (before, now) = (was.part("identity"), is.part("identity"));
    if before == now {
        return None;
    }
    Some(match (before, now) {
        (Some(before), None) => Change::one(format!("{column} ADD GENERATED {before} AS IDENTITY"))
            .noting(format!("the numbers of {} begin anew: set them with setval", is.name)),
        (Some(before), Some(_)) => Change::one(format!("{column} SET GENERATED {before}")),
        (None, _) => Change::one(format!("{column} DROP IDENTITY")),
    })
}

pub(super) fn alter_attribute(was: &Object, is: &Object) -> Vec<Change> {
    let (Some(of), Some(kind)) = (&is.of, was.part("type").filter(|kind| is.part("type") != Some(kind))) else {
        return Vec::new();
    };
    vec![Change::one(format!("ALTER TYPE {of} ALTER ATTRIBUTE {} TYPE {kind}", is.local))]
}
