//! The method that would do many runs' work in one, as text. Pure.

use super::fingerprint::Fingerprint;
use super::shape::Kind;
use super::types;
use crate::op::Op;

/// What to write instead of running `fingerprint` for each key in `op`.
pub(super) fn batch(op: Option<&'static Op>, fingerprint: Option<&Fingerprint>) -> String {
    let Some(fingerprint) = fingerprint else {
        return "each call asks the cache, or loads by itself: read what is needed in one call, by a method that takes all keys".into();
    };
    let Some(key) = &fingerprint.shape.key else {
        return match fingerprint.kind() {
            Kind::Insert => insert(fingerprint),
            _ => "read all rows that are needed in one statement, with eq_any(..) or a join".into(),
        };
    };
    let (table, column) = (identifier(&key.table), identifier(&key.column));
    let of = types::rust(fingerprint.types().get(usize::from(key.param) - 1).copied());
    let name = op.map_or("rows", |op| op.name().rsplit("::").next().unwrap_or("rows"));
    let keys = if column.ends_with('s') { format!("{column}_list") } else { format!("{column}s") };
    match fingerprint.kind() {
        Kind::Insert => insert(fingerprint),
        Kind::Delete => format!(
            "#[write]\npub async fn {name}_of_all(&self, conn: &mut Conn, {keys}: &[{of}]) -> QueryResult<usize> {{\n    \
             diesel::delete({table}::table.filter({table}::{column}.eq_any({keys}))).execute(conn).await\n}}"
        ),
        Kind::Update => format!(
            "set all rows in one statement: `diesel::update({table}::table.filter({table}::{column}.eq_any({keys})))` where they get \
             the same values, and else `UPDATE {table} SET .. FROM unnest($1, $2) AS new ({column}, ..) WHERE {table}.{column} = new.{column}`"
        ),
        Kind::Read | Kind::Utility => format!(
            "#[read]\npub async fn {name}_of_all(&self, conn: &mut Conn, {keys}: &[{of}]) -> QueryResult<Vec<Row>> {{\n    \
             {table}::table.filter({table}::{column}.eq_any({keys})).select(Row::as_select()).load(conn).await\n}}"
        ),
    }
}

fn insert(fingerprint: &Fingerprint) -> String {
    let words: Vec<&str> = fingerprint.text().split_whitespace().take(3).collect();
    let table = words.get(2).map_or("table".into(), |word| identifier(word.trim_matches('"')));
    format!("insert all rows in one statement: diesel::insert_into({table}::table).values(&rows).execute(conn).await")
}

/// A name as Rust could have it.
fn identifier(name: &str) -> String {
    let name = name.split('(').next().unwrap_or(name).trim_matches('"');
    name.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Intent;
    use crate::query::shape::Shape;

    static SEATS: Op = Op::new("Flights::seats", Intent::Read);

    fn advice(sql: &str, types: &[u32]) -> String {
        let fingerprint = Fingerprint::new(Shape::of(sql).unwrap(), Some(sql));
        fingerprint.has_types(types.into());
        batch(Some(&SEATS), Some(&fingerprint))
    }

    #[test]
    fn a_read_by_key_becomes_one_by_all_keys() {
        let sql = r#"SELECT "seats"."id" FROM "seats" WHERE ("seats"."flight_id" = $1) LIMIT $2"#;
        let wanted = "#[read]\npub async fn seats_of_all(&self, conn: &mut Conn, flight_ids: &[i64]) -> QueryResult<Vec<Row>> {\n    \
                      seats::table.filter(seats::flight_id.eq_any(flight_ids)).select(Row::as_select()).load(conn).await\n}";
        assert_eq!(advice(sql, &[20, 20]), wanted);
    }

    #[test]
    fn writes_have_their_own() {
        assert!(advice(r#"INSERT INTO "seats" ("id") VALUES ($1)"#, &[20]).contains("insert_into(seats::table)"));
        assert!(advice(r#"DELETE FROM "seats" WHERE ("seats"."id" = $1)"#, &[25]).contains("ids: &[String]"));
        assert!(advice(r#"UPDATE "seats" SET "a" = $1 WHERE ("seats"."id" = $2)"#, &[23, 20]).contains("unnest"));
    }
}
