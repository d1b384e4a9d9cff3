//! Enums: a label cannot be dropped, so a type that has one too many is made anew, and its columns are moved over.

use super::changes::Change;
use super::model::{Catalog, Kind, Object};

pub(super) fn alter(was: &Object, is: &Object, current: &Catalog) -> Vec<Change> {
    if was.part("labels") == is.part("labels") {
        return Vec::new();
    }
    let old = format!("{}__dbopt_old", is.local.trim_matches('"').to_lowercase());
    let old_name = is.schema.as_ref().map_or_else(|| old.clone(), |schema| format!("{schema}.{old}"));
    let mut sql = vec![format!("ALTER TYPE {} RENAME TO {old}", is.name), was.create.clone()];
    for column in current.objects().filter(|object| object.kind == Kind::Column) {
        let Some(kind) = column.part("type") else { continue };
        let array = match kind.strip_prefix(is.name.as_str()) {
            Some("") => "",
            Some("[]") => "[]",
            _ => continue,
        };
        let Some(table) = &column.of else { continue };
        let alter = format!("ALTER TABLE {table} ALTER COLUMN {}", column.local);
        let name = &column.local;
        if column.part("default").is_some() {
            sql.push(format!("{alter} DROP DEFAULT"));
        }
        sql.push(format!("{alter} TYPE {}{array} USING {name}::text{array}::{}{array}", was.name, was.name));
        if let Some(default) = column.part("default") {
            sql.push(format!("{alter} SET DEFAULT {default}"));
        }
    }
    sql.push(format!("DROP TYPE {old_name}"));
    vec![Change::new(sql).noting(format!("fails while rows have a label that {} did not have", was.name))]
}
