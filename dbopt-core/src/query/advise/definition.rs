//! An index that could be made: its name, its SQL, and what else it would do for.

use super::catalog::{Index, Table};

/// PostgreSQL cuts names behind so many bytes.
const NAME: usize = 63;

/// A column or expression that an index sorts by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// As it stands in CREATE INDEX: a column's name, or an expression in parentheses.
    pub sql: String,
    /// Such as ` DESC`; empty for the ordinary one.
    pub order: &'static str,
    /// The operator class, if not the type's own.
    pub class: Option<&'static str>,
}

impl Key {
    /// A key in the ordinary order.
    pub fn plain(sql: impl Into<String>) -> Key {
        Key { sql: sql.into(), order: "", class: None }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sql)?;
        if let Some(class) = self.class {
            write!(f, " {class}")?;
        }
        f.write_str(self.order)
    }
}

/// An index that could be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Definition {
    /// The table's schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// What it sorts by.
    pub keys: Vec<Key>,
    /// The rows it holds, if not all.
    pub predicate: Option<String>,
}

impl std::fmt::Display for Definition {
    /// `orders(tenant_id, created_at) WHERE (deleted_at IS NULL)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({})", self.table, self.key_list())?;
        match &self.predicate {
            Some(predicate) => write!(f, " WHERE {predicate}"),
            None => Ok(()),
        }
    }
}

impl Definition {
    fn key_list(&self) -> String {
        self.keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// What stands behind CREATE INDEX and a name: `ON table (keys) WHERE ..`.
    pub fn on(&self) -> String {
        let table = if self.schema == "public" {
            quoted(&self.table)
        } else {
            format!("{}.{}", quoted(&self.schema), quoted(&self.table))
        };
        let predicate = self.predicate.as_ref().map_or_else(String::new, |predicate| format!(" WHERE {predicate}"));
        format!("ON {table} ({}){predicate}", self.key_list())
    }

    /// A statement that makes it under this name while others write.
    pub fn create(&self, name: &str) -> String {
        format!("CREATE INDEX CONCURRENTLY {} {}", quoted(name), self.on())
    }

    /// A statement that takes it away again.
    pub fn drop(&self, name: &str) -> String {
        let schema = if self.schema == "public" { String::new() } else { format!("{}.", quoted(&self.schema)) };
        format!("DROP INDEX CONCURRENTLY {schema}{}", quoted(name))
    }

    /// A name that says what it is for, and that nothing in `taken` has.
    pub fn name(&self, taken: &[String]) -> String {
        let mut words = vec![word(&self.table)];
        words.extend(self.keys.iter().map(|key| word(&key.sql)));
        if self.predicate.is_some() {
            words.push("partial".into());
        }
        let wished = words.join("_");
        (0..)
            .map(|n: u32| {
                let end = if n == 0 { "_idx".to_owned() } else { format!("_idx{n}") };
                let room = (0..=NAME - end.len()).rev().find(|&at| wished.is_char_boundary(at)).unwrap_or(0);
                format!("{}{end}", wished[..room.min(wished.len())].trim_end_matches('_'))
            })
            .find(|name| !taken.contains(name))
            .unwrap_or(wished)
    }

    /// Whether an index that is there begins with the same keys.
    pub fn is_covered_by(&self, index: &Index) -> bool {
        let same = |(mine, theirs): (&Key, &super::IndexKey)| {
            bare(&mine.sql) == bare(&theirs.sql)
                && mine.class == theirs.class.as_deref()
                && (self.keys.len() == 1 || mine.order.starts_with(" DESC") == theirs.descending)
        };
        let predicate = index.predicate.as_deref().map(bare);
        index.valid
            && index.method == "btree"
            // One of some rows is made for being small: one of all rows does not do the same.
            && predicate == self.predicate.as_deref().map(bare)
            && index.keys.len() >= self.keys.len()
            && self.keys.iter().zip(&index.keys).all(same)
    }

    /// Whether it sorts by some of the keys of `other` only, in their order.
    pub fn is_part_of(&self, other: &Definition) -> bool {
        let mut theirs = other.keys.iter();
        self.schema == other.schema
            && self.table == other.table
            && self.keys.len() < other.keys.len()
            && (self.predicate.is_none() || self.predicate == other.predicate)
            && self.keys.iter().all(|mine| theirs.any(|key| key == mine))
    }

    /// Bytes, roughly, where nobody has built it.
    pub fn estimate(&self, table: &Table) -> u64 {
        let width: f64 =
            self.keys.iter().map(|key| table.column(key.sql.trim_matches('"')).map_or(16.0, |c| c.width)).sum();
        // A tuple's head and pointer, and pages nine tenths full.
        (table.rows * (width.max(8.0) + 12.0) / 0.9) as u64
    }
}

/// Without parentheses around it and blanks.
fn bare(sql: &str) -> String {
    let mut text: String = sql.chars().filter(|c| !c.is_whitespace() && *c != '(' && *c != ')' && *c != '"').collect();
    text.make_ascii_lowercase();
    text
}

/// What a name can hold of an expression.
fn word(sql: &str) -> String {
    let mut word = String::new();
    for letter in sql.chars() {
        match letter {
            letter if letter.is_alphanumeric() || letter == '_' => word.extend(letter.to_lowercase()),
            _ if word.ends_with('_') || word.is_empty() => {}
            _ => word.push('_'),
        }
    }
    word.trim_end_matches('_').to_owned()
}

/// A name as SQL needs it.
pub(super) fn quoted(name: &str) -> String {
    let plain =
        |(at, letter): (usize, char)| letter == '_' || letter.is_ascii_lowercase() || at > 0 && letter.is_ascii_digit();
    if !name.is_empty() && name.chars().enumerate().all(plain) && !is_reserved(name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Words that are no names without quotes, as far as tables and columns are called so.
fn is_reserved(word: &str) -> bool {
    const RESERVED: [&str; 34] = [
        "all",
        "analyse",
        "analyze",
        "and",
        "any",
        "array",
        "as",
        "asc",
        "both",
        "case",
        "cast",
        "check",
        "column",
        "constraint",
        "default",
        "desc",
        "do",
        "end",
        "for",
        "from",
        "grant",
        "group",
        "in",
        "limit",
        "offset",
        "on",
        "order",
        "primary",
        "references",
        "select",
        "table",
        "to",
        "user",
        "where",
    ];
    RESERVED.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::super::IndexKey;
    use super::*;

    fn on(keys: &[&str]) -> Definition {
        let keys = keys.iter().map(|key| Key::plain(*key)).collect();
        Definition { schema: "public".into(), table: "orders".into(), keys, predicate: None }
    }

    fn there(keys: &[&str]) -> Index {
        let keys = keys.iter().map(|sql| IndexKey { sql: (*sql).into(), ..IndexKey::default() }).collect();
        Index { method: "btree".into(), keys, valid: true, ..Index::default() }
    }

    #[test]
    fn names_are_short_and_their_own() {
        assert_eq!(on(&["tenant_id", "(lower(email))"]).name(&[]), "orders_tenant_id_lower_email_idx");
        assert_eq!(on(&["a"]).name(&["orders_a_idx".into()]), "orders_a_idx1");
        let long = on(&["a_rather_long_name_of_a_column", "another_one_that_is_rather_long"]).name(&[]);
        assert!(long.len() <= 63 && long.ends_with("_idx"), "{long}");
        let umlauts = on(&[&"ä".repeat(60)]).name(&[]);
        assert!(umlauts.len() <= 63, "{umlauts}");
    }

    #[test]
    fn the_statements_are_quoted_where_they_must_be() {
        let mut index = on(&["a"]);
        (index.schema, index.table) = ("Shop".into(), "order".into());
        assert_eq!(index.create("x y"), r#"CREATE INDEX CONCURRENTLY "x y" ON "Shop"."order" (a)"#);
        assert_eq!(index.drop("x"), r#"DROP INDEX CONCURRENTLY "Shop".x"#);
        index.predicate = Some("(b IS NULL)".into());
        assert_eq!(index.on(), r#"ON "Shop"."order" (a) WHERE (b IS NULL)"#);
    }

    #[test]
    fn a_prefix_of_what_is_there_is_not_needed() {
        let wanted = on(&["a", "b"]);
        assert!(wanted.is_covered_by(&there(&["a", "b", "c"])) && wanted.is_covered_by(&there(&["a", "b"])));
        assert!(!wanted.is_covered_by(&there(&["a"])) && !wanted.is_covered_by(&there(&["b", "a"])));
        assert!(!wanted.is_covered_by(&Index { valid: false, ..there(&["a", "b"]) }));
        assert!(!wanted.is_covered_by(&Index { method: "gin".into(), ..there(&["a", "b"]) }));
        let partial = Index { predicate: Some("(c IS NULL)".into()), ..there(&["a", "b"]) };
        assert!(!wanted.is_covered_by(&partial));
        let mut same = wanted.clone();
        same.predicate = Some("(c IS NULL)".into());
        assert!(same.is_covered_by(&partial) && !same.is_covered_by(&there(&["a", "b"])));
        assert!(on(&["(lower(email))"]).is_covered_by(&there(&["lower(email)"])));
    }

    #[test]
    fn parts_are_in_the_same_order() {
        assert!(on(&["a"]).is_part_of(&on(&["a", "b"])) && on(&["b"]).is_part_of(&on(&["a", "b"])));
        assert!(!on(&["a", "b"]).is_part_of(&on(&["a", "b"])) && !on(&["b", "a"]).is_part_of(&on(&["a", "c", "b"])));
    }
}
