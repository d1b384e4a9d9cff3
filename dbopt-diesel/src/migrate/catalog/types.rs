//! Enums, domains, composite types and ranges.

use super::{grants, not_of_extension, owner};

/// The start of each query: what all types have alike.
fn object(kind: &str, word: &str, create: &str, parts: &str) -> String {
    format!(
        "SELECT jsonb_build_object('kind', '{kind}', 'id', t.oid::text, 'name', format_type(t.oid, NULL), 'schema', quote_ident(nspname), \
           'local', quote_ident(typname), 'create', {create}, 'drop', format('DROP {word} %s', format_type(t.oid, NULL)), \
           'on', format('{word} %s', format_type(t.oid, NULL)), 'grant_on', format('TYPE %s', format_type(t.oid, NULL)), \
           'parts', jsonb_build_object('owner', {}, 'comment', obj_description(t.oid, 'pg_type'), 'grants', {}{parts})) \
         FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = typnamespace",
        owner("typowner"),
        grants("typacl", "T", "typowner")
    )
}

pub(super) fn queries() -> Vec<String> {
    vec![enums(), labels(), domains(), domain_constraints(), composites(), attributes(), ranges()]
}

const LABELS: &str =
    "(SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid)";

fn enums() -> String {
    let create = format!("format('CREATE TYPE %s AS ENUM (%s)', format_type(t.oid, NULL), {LABELS})");
    let object = object("enum", "TYPE", &create, &format!(", 'labels', {LABELS}"));
    format!("{object} WHERE typtype = 'e' AND {{user}} AND {}", not_of_extension("pg_type", "t.oid"))
}

fn labels() -> String {
    format!(
        "SELECT jsonb_build_object('kind', 'label', 'id', e.oid::text, 'name', format('%s.%L', format_type(t.oid, NULL), enumlabel), \
           'local', quote_literal(enumlabel), 'of', format_type(t.oid, NULL)) \
         FROM pg_enum AS e JOIN pg_type AS t ON t.oid = enumtypid JOIN pg_namespace AS n ON n.oid = typnamespace WHERE {{user}} AND {}",
        not_of_extension("pg_type", "t.oid")
    )
}

fn domains() -> String {
    let base = "format_type(typbasetype, typtypmod)";
    let default = "coalesce(pg_get_expr(typdefaultbin, 0), quote_literal(typdefault))";
    let collation = "coalesce((SELECT format(' COLLATE %s', c.oid::regcollation) FROM pg_collation AS c, pg_type AS b WHERE \
                     b.oid = t.typbasetype AND c.oid = t.typcollation AND t.typcollation <> b.typcollation), '')";
    let create = format!(
        "format('CREATE DOMAIN %s AS %s%s%s%s', format_type(t.oid, NULL), {base}, {collation}, coalesce(' DEFAULT ' || {default}, ''), \
         CASE WHEN typnotnull THEN ' NOT NULL' ELSE '' END)"
    );
    let parts =
        format!(", 'type', {base} || {collation}, 'default', {default}, 'not_null', CASE WHEN typnotnull THEN 't' END");
    let object = object("domain", "DOMAIN", &create, &parts);
    format!("{object} WHERE typtype = 'd' AND {{user}} AND {}", not_of_extension("pg_type", "t.oid"))
}

fn domain_constraints() -> String {
    let domain = "format_type(contypid, NULL)";
    format!(
        "SELECT jsonb_build_object('kind', 'domain_constraint', 'id', c.oid::text, 'name', format('%s.%I', {domain}, conname), \
           'local', quote_ident(conname), 'of', {domain}, \
           'create', format('ALTER DOMAIN %s ADD CONSTRAINT %I %s', {domain}, conname, pg_get_constraintdef(c.oid)), \
           'drop', format('ALTER DOMAIN %s DROP CONSTRAINT %I', {domain}, conname), \
           'on', format('CONSTRAINT %I ON DOMAIN %s', conname, {domain}), \
           'parts', jsonb_build_object('comment', obj_description(c.oid, 'pg_constraint'))) \
         FROM pg_constraint AS c JOIN pg_namespace AS n ON n.oid = connamespace WHERE contypid <> 0 AND contype = 'c' AND {{user}} AND {}",
        not_of_extension("pg_type", "contypid")
    )
}

fn composites() -> String {
    let create = "format('CREATE TYPE %s AS (%s)', format_type(t.oid, NULL), (SELECT string_agg(format('%I %s', attname, \
                  format_type(atttypid, atttypmod)), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = typrelid AND attnum > 0 AND NOT attisdropped))";
    let object = object("type", "TYPE", create, ", 'composite', 't'");
    format!(
        "{object} JOIN pg_class AS c ON c.oid = typrelid WHERE typtype = 'c' AND relkind = 'c' AND {{user}} AND {}",
        not_of_extension("pg_type", "t.oid")
    )
}

fn attributes() -> String {
    let kind = "format_type(t.oid, NULL)";
    format!(
        "SELECT jsonb_build_object('kind', 'attribute', 'id', attrelid || '.' || attnum, 'name', format('%s.%I', {kind}, attname), \
           'local', quote_ident(attname), 'of', {kind}, \
           'create', format('ALTER TYPE %s ADD ATTRIBUTE %I %s', {kind}, attname, format_type(atttypid, atttypmod)), \
           'drop', format('ALTER TYPE %s DROP ATTRIBUTE %I', {kind}, attname), 'on', format('COLUMN %s.%I', {kind}, attname), \
           'parts', jsonb_build_object('type', format_type(atttypid, atttypmod), 'comment', col_description(attrelid, attnum))) \
         FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid JOIN pg_type AS t ON t.typrelid = c.oid \
           JOIN pg_namespace AS n ON n.oid = typnamespace \
         WHERE relkind = 'c' AND attnum > 0 AND NOT attisdropped AND {{user}} AND {}",
        not_of_extension("pg_type", "t.oid")
    )
}

fn ranges() -> String {
    let create = "(SELECT format('CREATE TYPE %s AS RANGE (SUBTYPE = %s)', format_type(t.oid, NULL), format_type(rngsubtype, NULL)) \
                  FROM pg_range WHERE rngtypid = t.oid)";
    let object = object("type", "TYPE", create, "");
    format!("{object} WHERE typtype = 'r' AND {{user}} AND {}", not_of_extension("pg_type", "t.oid"))
}
