//! Columns of tables.

use super::{not_of_extension, not_ours};

const COLLATION: &str = "(SELECT k.oid::regcollation::text FROM pg_collation AS k, pg_type AS b WHERE b.oid = atttypid AND \
    k.oid = attcollation AND attcollation <> b.typcollation)";

const EXPRESSION: &str = "pg_get_expr(adbin, adrelid)";

pub(super) fn queries() -> Vec<String> {
    let table = "c.oid::regclass";
    let rights = "(SELECT string_agg(format('%s (%I)|%s|%s', a.privilege_type, attname, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE \
        quote_ident(pg_get_userbyid(a.grantee)) END, CASE WHEN a.is_grantable THEN 't' ELSE 'f' END), E'\\n' \
        ORDER BY a.privilege_type, a.grantee) FROM aclexplode(attacl) AS a)";
    let identity = "CASE attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' END";
    // A column that must not be null and has nothing to fill it with is added without that, which follows.
    let create = format!(
        "format('ALTER TABLE %s ADD COLUMN %I %s%s%s%s', {table}, attname, format_type(atttypid, atttypmod), \
         coalesce(' COLLATE ' || {COLLATION}, ''), \
         CASE WHEN attidentity <> '' THEN format(' GENERATED %s AS IDENTITY', {identity}) \
           WHEN attgenerated = 's' THEN format(' GENERATED ALWAYS AS (%s) STORED', {EXPRESSION}) \
           WHEN adbin IS NOT NULL THEN format(' DEFAULT %s', {EXPRESSION}) ELSE '' END, \
         CASE WHEN attnotnull AND (adbin IS NOT NULL OR attidentity <> '') THEN ' NOT NULL' ELSE '' END)"
    );
    vec![format!(
        "SELECT jsonb_build_object('kind', 'column', 'id', attrelid || '.' || attnum, 'name', format('%s.%I', {table}, attname), \
           'local', quote_ident(attname), 'of', {table}::text, 'create', {create}, \
           'drop', format('ALTER TABLE %s DROP COLUMN %I', {table}, attname), 'on', format('COLUMN %s.%I', {table}, attname), \
           'grant_on', {table}::text, \
           'parts', jsonb_build_object('type', format_type(atttypid, atttypmod), 'collation', {COLLATION}, \
             'default', CASE WHEN attgenerated = '' THEN {EXPRESSION} END, 'generated', CASE WHEN attgenerated = 's' THEN {EXPRESSION} END, \
             'identity', {identity}, 'not_null', CASE WHEN attnotnull THEN 't' END, \
             'storage', CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END, \
             'compression', CASE to_jsonb(a) ->> 'attcompression' WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' WHEN '' THEN 'DEFAULT' END, \
             'statistics', coalesce(to_jsonb(a) ->> 'attstattarget', '-1'), 'options', array_to_string(attoptions, ', '), \
             'comment', col_description(attrelid, attnum), 'grants', {rights})) \
         FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = attrelid JOIN pg_namespace AS n ON n.oid = relnamespace \
           LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum \
         WHERE relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped AND {{user}} AND {} AND {}",
        not_of_extension("pg_class", "c.oid"),
        not_ours("relname")
    )]
}
