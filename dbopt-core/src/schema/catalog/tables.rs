//! What a table is besides its columns.

use super::changes::Change;
use super::model::Object;

pub(super) fn alter(was: &Object, is: &Object) -> Vec<Change> {
    let table = format!("ALTER TABLE {}", is.name);
    let changed = |part: &str| was.part(part) != is.part(part);
    let mut found = Vec::new();
    if changed("persistence") {
        let word = was.part("persistence").unwrap_or("LOGGED");
        found.push(format!("{table} SET {word}"));
    }
    if changed("row_security") {
        let word = if was.part("row_security").is_some() { "ENABLE" } else { "DISABLE" };
        found.push(format!("{table} {word} ROW LEVEL SECURITY"));
    }
    if changed("forced_security") {
        let word = if was.part("forced_security").is_some() { "FORCE" } else { "NO FORCE" };
        found.push(format!("{table} {word} ROW LEVEL SECURITY"));
    }
    if changed("replica_identity")
        && let Some(identity) = was.part("replica_identity")
    {
        found.push(format!("{table} REPLICA IDENTITY {identity}"));
    }
    if changed("options") {
        if let Some(options) = is.part("options") {
            let names: Vec<&str> = options.split(", ").filter_map(|pair| pair.split('=').next()).collect();
            found.push(format!("{table} RESET ({})", names.join(", ")));
        }
        found.extend(was.part("options").map(|options| format!("{table} SET ({options})")));
    }
    if changed("tablespace") {
        let space = was.part("tablespace").unwrap_or("pg_default");
        found.push(format!("{table} SET TABLESPACE {space}"));
    }
    if changed("partition") {
        let parent =
            |part: Option<&str>| part.and_then(|part| part.split_once('\n')).map(|(p, b)| (p.to_owned(), b.to_owned()));
        if let Some((parent, _)) = parent(is.part("partition")) {
            found.push(format!("ALTER TABLE {parent} DETACH PARTITION {}", is.name));
        }
        if let Some((parent, bound)) = parent(was.part("partition")) {
            found.push(format!("ALTER TABLE {parent} ATTACH PARTITION {} {bound}", is.name));
        }
    }
    if changed("inherits") {
        let parents = |part: Option<&str>| {
            part.unwrap_or_default().split('\n').filter(|p| !p.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let (before, now) = (parents(was.part("inherits")), parents(is.part("inherits")));
        found.extend(now.iter().filter(|p| !before.contains(p)).map(|p| format!("{table} NO INHERIT {p}")));
        found.extend(before.iter().filter(|p| !now.contains(p)).map(|p| format!("{table} INHERIT {p}")));
    }
    found.into_iter().map(Change::one).collect()
}
