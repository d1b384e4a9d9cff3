//! Indexes that cost and bring nothing: unused, covered by another, or broken.

use super::catalog::{Catalog, Index, Table};
use super::definition::quoted;
use super::report::Unneeded;

/// Uses must have been counted for so long: a week, so that what runs on Mondays was seen.
const LONG_ENOUGH: f64 = 7.0 * 86_400.0;

/// Smaller ones are not worth the talk.
const SMALL: f64 = 1024.0 * 1024.0;

/// Those of a catalog.
pub fn unneeded(catalog: &Catalog) -> Vec<Unneeded> {
    let mut found = Vec::new();
    for table in &catalog.tables {
        for index in &table.indexes {
            let told = |kind: &str, why: String| {
                let schema =
                    if table.schema == "public" { String::new() } else { format!("{}.", quoted(&table.schema)) };
                Unneeded {
                    kind: kind.to_owned(),
                    table: format!("{}.{}", table.schema, table.name),
                    name: index.name.clone(),
                    bytes: index.bytes,
                    drop: format!("DROP INDEX CONCURRENTLY {schema}{}", quoted(&index.name)),
                    why,
                }
            };
            if !index.valid {
                if !index.building {
                    let why = "a CREATE INDEX CONCURRENTLY failed: it is kept up to date and never used; drop it and build it again";
                    found.push(told("invalid", why.to_owned()));
                }
            } else if let Some(other) = covering(table, index) {
                found.push(told("covered", format!("{} begins with the same columns", other.name)));
            } else if is_unused(catalog, index) {
                let days = catalog.counted_seconds / 86_400.0;
                let elsewhere = match catalog.standbys {
                    0 => String::new(),
                    n => format!(
                        "; {n} standbys follow this server, and what they read is counted there: look there, too"
                    ),
                };
                found.push(told("unused", format!("it was not used in {days:.0} days{elsewhere}")));
            }
        }
    }
    found.sort_by(|one, other| other.bytes.total_cmp(&one.bytes));
    found
}

fn is_unused(catalog: &Catalog, index: &Index) -> bool {
    index.scans == 0.0
        && !index.unique
        && !index.constraint
        && index.bytes >= SMALL
        && catalog.counted_seconds >= LONG_ENOUGH
}

/// Another index that does all that this one does.
fn covering<'a>(table: &'a Table, index: &Index) -> Option<&'a Index> {
    if index.unique || index.constraint || index.method != "btree" {
        return None;
    }
    table.indexes.iter().find(|other| {
        let longer = other.keys.len() > index.keys.len();
        // Of two that are the same, one that must stay, or the one with the first name.
        let same =
            other.keys.len() == index.keys.len() && (other.unique || other.constraint || other.name < index.name);
        other.valid
            && other.method == "btree"
            && other.name != index.name
            && other.predicate == index.predicate
            && other.keys.starts_with(&index.keys)
            && (longer || same)
    })
}

#[cfg(test)]
mod tests {
    use super::super::IndexKey;
    use super::*;

    fn index(name: &str, keys: &[&str]) -> Index {
        let keys = keys.iter().map(|sql| IndexKey { sql: (*sql).into(), ..IndexKey::default() }).collect();
        let name = name.into();
        Index { name, keys, method: "btree".into(), valid: true, bytes: 2e6, scans: 1.0, ..Index::default() }
    }

    fn found(indexes: Vec<Index>, change: impl Fn(&mut Catalog)) -> Vec<(String, String)> {
        let table = Table { schema: "public".into(), name: "t".into(), indexes, ..Table::default() };
        let mut catalog = Catalog { tables: vec![table], counted_seconds: 8.0 * 86_400.0, ..Catalog::default() };
        change(&mut catalog);
        unneeded(&catalog).into_iter().map(|one| (one.name, one.kind)).collect()
    }

    #[test]
    fn each_kind_is_found_and_nothing_else() {
        let unused = Index { scans: 0.0, ..index("a", &["x"]) };
        type Case = (&'static str, Vec<Index>, &'static [(&'static str, &'static str)]);
        let cases: Vec<Case> = vec![
            ("used", vec![index("a", &["x"])], &[]),
            ("unused", vec![unused.clone()], &[("a", "unused")]),
            ("unique", vec![Index { unique: true, ..unused.clone() }], &[]),
            ("of a constraint", vec![Index { constraint: true, ..unused.clone() }], &[]),
            ("tiny", vec![Index { bytes: 8192.0, ..unused.clone() }], &[]),
            ("a prefix", vec![index("a", &["x"]), index("b", &["x", "y"])], &[("a", "covered")]),
            ("no prefix", vec![index("a", &["y"]), index("b", &["x", "y"])], &[]),
            ("twice", vec![index("a", &["x"]), index("b", &["x"])], &[("b", "covered")]),
            ("a unique prefix", vec![Index { unique: true, ..index("a", &["x"]) }, index("b", &["x", "y"])], &[]),
            (
                "beside a unique one",
                vec![index("a", &["x"]), Index { unique: true, ..index("b", &["x"]) }],
                &[("a", "covered")],
            ),
            (
                "of other rows",
                vec![Index { predicate: Some("z".into()), ..index("a", &["x"]) }, index("b", &["x"])],
                &[],
            ),
            ("broken", vec![Index { valid: false, ..index("a", &["x"]) }], &[("a", "invalid")]),
            ("being built", vec![Index { valid: false, building: true, ..index("a", &["x"]) }], &[]),
        ];
        for (what, indexes, expected) in cases {
            let expected: Vec<_> =
                expected.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect();
            assert_eq!(found(indexes, |_| ()), expected, "{what}");
        }
        assert!(found(vec![unused], |catalog| catalog.counted_seconds = 3600.0).is_empty(), "not counted for long");
    }
}
