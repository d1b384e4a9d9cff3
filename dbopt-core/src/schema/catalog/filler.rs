//! What a row gets in a column that must not be null and comes back without its values.

use super::model::{Catalog, Kind, Object};

/// A value of the column's type that means nothing, as it is written; none where nobody knows one.
pub(super) fn filler(column: &Object, catalog: &Catalog) -> Option<String> {
    let kind = column.part("type")?;
    if kind.ends_with("[]") {
        return Some("'{}'".to_owned());
    }
    let plain = kind.split('(').next().unwrap_or(kind);
    let value = match plain {
        "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision" => "0",
        "boolean" => "false",
        "text" | "character varying" | "character" | "bytea" => "''",
        "date" | "timestamp without time zone" | "timestamp with time zone" | "timestamp" => "'epoch'",
        "time without time zone" | "time with time zone" | "time" | "interval" => "'00:00'",
        "json" | "jsonb" => "'{}'",
        "uuid" => "'00000000-0000-0000-0000-000000000000'",
        _ => return label(kind, catalog),
    };
    Some(value.to_owned())
}

/// The first label of an enum: the list begins with it, in quotes.
fn label(kind: &str, catalog: &Catalog) -> Option<String> {
    let labels = catalog.find(Kind::Enum, kind)?.part("labels")?;
    let mut rest = labels.strip_prefix('\'')?;
    let mut label = String::new();
    loop {
        let (part, after) = rest.split_once('\'')?;
        label.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                label.push_str("''");
                rest = more;
            }
            None => return Some(format!("'{label}'")),
        }
    }
}
