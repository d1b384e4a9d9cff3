//! What hangs on tables: constraints, indexes, types, views, functions, triggers, comments, rights.

use fastrand::Rng;

use super::Done;
use super::model::{Model, bare};

/// Of a column that nothing else needs, the name of its table and its own; it is needed from now on.
fn use_column(model: &mut Model, random: &mut Rng, kinds: &[&str]) -> Option<(String, String)> {
    let (t, c) = model.free_column(random, |column| kinds.is_empty() || kinds.contains(&column.kind.as_str()))?;
    let table = &mut model.tables[t];
    table.columns[c].is_used = true;
    Some((table.name.clone(), table.columns[c].name.clone()))
}

pub(super) fn check(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let (table, column) = use_column(model, random, &["int", "bigint", "smallint", "numeric(10, 2)"])?;
    let name = format!("not_below_{}", model.number());
    model.tables.iter_mut().find(|t| t.name == table)?.unchecked.push(name.clone());
    Done::new("add_check", format!("ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({column} >= 0) NOT VALID;\n"))
}

pub(super) fn validate(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let tables: Vec<_> = model.tables.iter_mut().filter(|table| !table.unchecked.is_empty()).collect();
    let table = random.choice(tables)?;
    let name = table.unchecked.pop()?;
    Done::new("validate_check", format!("ALTER TABLE {} VALIDATE CONSTRAINT {name};\n", table.name))
}

pub(super) fn foreign_key(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let (from, to) = (model.table(random)?, model.table(random)?);
    let number = model.number();
    model.tables[to].is_used = true;
    let (to, table) = (model.tables[to].name.clone(), &mut model.tables[from]);
    let up = format!(
        "ALTER TABLE {} ADD COLUMN other_{number} bigint;\nALTER TABLE {} ADD CONSTRAINT other_{number}_key FOREIGN KEY (other_{number}) REFERENCES {to} \
         ON DELETE SET NULL NOT VALID;\n",
        table.name, table.name
    );
    table.unchecked.push(format!("other_{number}_key"));
    table.is_used = true;
    Done::new("add_foreign_key", up)
}

pub(super) fn index(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let (table, column) = use_column(model, random, &[])?;
    let (name, method) = (format!("index_{}", model.number()), if random.bool() { "btree" } else { "hash" });
    Done::new("add_index", format!("CREATE INDEX {name} ON {table} USING {method} ({column});\n"))
}

pub(super) fn index_concurrently(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let (table, column) = use_column(model, random, &[])?;
    let name = format!("beside_{}", model.number());
    let schema = if table.starts_with("billing.") { "billing." } else { "" };
    model.indexes.push(format!("{schema}{name}"));
    let (unique, columns) = match random.usize(..4) {
        0 => ("UNIQUE ", format!("({column}, id)")),
        1 => ("", format!("({column}) WHERE {column} IS NOT NULL")),
        2 => ("", format!("(id) INCLUDE ({column})")),
        _ => ("", format!("({column} DESC NULLS LAST)")),
    };
    Done::alone("add_index_beside", format!("CREATE {unique}INDEX CONCURRENTLY {name} ON {table} {columns};\n"))
}

pub(super) fn drop_index_concurrently(model: &mut Model, random: &mut Rng) -> Option<Done> {
    if model.indexes.is_empty() {
        return None;
    }
    let name = model.indexes.swap_remove(random.usize(..model.indexes.len()));
    Done::alone("drop_index_beside", format!("DROP INDEX CONCURRENTLY {name};\n"))
}

pub(super) fn enumeration(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let at = model.table(random)?;
    let (kind, column) = (format!("kind_{}", model.number()), format!("kind_{}", model.number()));
    let up = format!(
        "CREATE TYPE {kind} AS ENUM ('value 0', 'value 1');\nALTER TABLE {} ADD COLUMN {column} {kind} NOT NULL DEFAULT 'value 0';\n",
        model.tables[at].name
    );
    model.tables[at].is_used = true;
    model.enums.push((kind, 2));
    Done::new("add_kind", up)
}

pub(super) fn enum_value(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let (name, values) = random.choice(&mut model.enums)?;
    let value = *values;
    *values += 1;
    Done::new("add_value", format!("ALTER TYPE {name} ADD VALUE 'value {value}' AFTER 'value 0';\n"))
}

pub(super) fn rename_enum_value(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let number = model.number();
    let (name, values) = random.choice(&mut model.enums).filter(|(_, values)| *values > 2)?;
    *values -= 1;
    Done::new("rename_value", format!("ALTER TYPE {name} RENAME VALUE 'value {values}' TO 'value of {number}';\n"))
}

pub(super) fn view(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let (table, column) = use_column(model, random, &[])?;
    let name = format!("view_{}", model.number());
    model.views.push((name.clone(), table.clone()));
    model.tables.iter_mut().find(|t| t.name == table)?.is_used = true;
    let up = format!(
        "CREATE VIEW {name} AS SELECT id, {column} FROM {table} WHERE {column} IS NOT NULL;\nCOMMENT ON VIEW {name} IS 'for reports';\n"
    );
    Done::new("create_view", up)
}

pub(super) fn replace_view(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let (name, table) = random.choice(model.views.clone())?;
    Done::new(
        "replace_view",
        format!("DROP VIEW {name};\nCREATE VIEW {name} AS SELECT count(*) AS n, max(id) AS last FROM {table};\n"),
    )
}

pub(super) fn drop_view(model: &mut Model, random: &mut Rng) -> Option<Done> {
    if model.views.is_empty() {
        return None;
    }
    let (name, _) = model.views.swap_remove(random.usize(..model.views.len()));
    Done::new("drop_view", format!("DROP VIEW {name};\n"))
}

pub(super) fn materialized(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let (table, column) = use_column(model, random, &["int", "bigint", "date", "text"])?;
    let name = format!("totals_{}", model.number());
    model.tables.iter_mut().find(|t| t.name == table)?.is_used = true;
    let up = format!(
        "CREATE MATERIALIZED VIEW {name} AS SELECT {column} AS what, count(*) AS n FROM {table} GROUP BY 1;\nCREATE UNIQUE INDEX {name}_what ON {name} (what);\n"
    );
    Done::new("create_totals", up)
}

/// A new one, or another body for one that is there.
pub(super) fn function(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let number = model.number();
    let known = random.choice(&model.functions).filter(|_| random.bool()).cloned();
    let name = known.unwrap_or_else(|| {
        let name = format!("touch_{number}");
        model.functions.push(name.clone());
        name
    });
    let up = format!(
        "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $body$\nBEGIN\n  -- release {number}; no change\n  RETURN NEW;\nEND\n$body$;\n"
    );
    Done::new("write_function", up)
}

pub(super) fn trigger(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let (at, function) = (model.table(random)?, random.choice(&model.functions)?.clone());
    let name = format!("touch_{}", model.number());
    let table = &mut model.tables[at];
    table.triggers += 1;
    let up = format!(
        "CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {function}();\n",
        table.name
    );
    Done::new("add_trigger", up)
}

pub(super) fn comment(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let at = model.table(random)?;
    let table = &model.tables[at];
    let column = random.choice(&table.columns)?;
    Done::new(
        "comment",
        format!("COMMENT ON COLUMN {}.{} IS 'it''s {}';\n", table.name, column.name, bare(&column.name)),
    )
}

pub(super) fn rights(model: &mut Model, random: &mut Rng) -> Option<Done> {
    let at = model.table(random)?;
    let rights = ["SELECT", "SELECT, UPDATE", "ALL"][random.usize(..3)];
    let (verb, who) = if random.bool() { ("GRANT", "TO reader") } else { ("REVOKE", "FROM reader") };
    Done::new("rights", format!("{verb} {rights} ON {} {who};\n", model.tables[at].name))
}
