//! What belongs to a table: constraints, indexes, statistics, triggers, rules, policies.

use super::{not_of_extension, not_ours};

pub(super) fn queries() -> Vec<String> {
    vec![constraints(), indexes(), statistics(), triggers(), rules(), policies()]
}

const TABLE: &str = "c.oid::regclass";

/// Something with a name of its own on a table.
fn object(kind: &str, word: &str, name: &str, create: &str, parts: &str, class: &str) -> String {
    format!(
        "SELECT jsonb_build_object('kind', '{kind}', 'id', x.oid::text, 'name', format('%s.%I', {TABLE}, {name}), \
           'local', quote_ident({name}), 'of', {TABLE}::text, 'create', {create}, \
           'drop', format('DROP {word} %I ON %s', {name}, {TABLE}), 'on', format('{word} %I ON %s', {name}, {TABLE}), \
           'parts', jsonb_build_object('comment', obj_description(x.oid, '{class}'){parts}))"
    )
}

fn of_user() -> String {
    format!("{{user}} AND {} AND {}", not_of_extension("pg_class", "c.oid"), not_ours("c.relname"))
}

fn constraints() -> String {
    format!(
        "SELECT jsonb_build_object('kind', 'constraint', 'id', x.oid::text, 'name', format('%s.%I', {TABLE}, conname), \
           'local', quote_ident(conname), 'of', {TABLE}::text, \
           'create', format('ALTER TABLE %s ADD CONSTRAINT %I %s', {TABLE}, conname, pg_get_constraintdef(x.oid)), \
           'drop', format('ALTER TABLE %s DROP CONSTRAINT %I', {TABLE}, conname), 'on', format('CONSTRAINT %I ON %s', conname, {TABLE}), \
           'parts', jsonb_build_object('comment', obj_description(x.oid, 'pg_constraint'))) \
         FROM pg_constraint AS x JOIN pg_class AS c ON c.oid = conrelid JOIN pg_namespace AS n ON n.oid = relnamespace \
         WHERE contype IN ('p', 'u', 'f', 'c', 'x') AND conparentid = 0 AND conislocal AND relkind IN ('r', 'p') AND {}",
        of_user()
    )
}

/// The index of a partitioned table is made with those of its partitions.
fn indexes() -> String {
    format!(
        "SELECT jsonb_build_object('kind', 'index', 'id', indexrelid::text, 'name', indexrelid::regclass::text, \
           'schema', quote_ident(nspname), 'local', quote_ident(i.relname), 'of', {TABLE}::text, 'create', CASE WHEN i.relkind = 'I' THEN replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') \
             ELSE pg_get_indexdef(indexrelid) END, \
           'drop', format('DROP INDEX %s', indexrelid::regclass), 'on', format('INDEX %s', indexrelid::regclass), \
           'parts', jsonb_build_object('comment', obj_description(indexrelid, 'pg_class'), \
             'invalid', CASE WHEN NOT indisvalid THEN 't' END)) \
         FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid JOIN pg_class AS c ON c.oid = indrelid \
           JOIN pg_namespace AS n ON n.oid = i.relnamespace \
         WHERE NOT i.relispartition AND c.relkind IN ('r', 'p', 'm') AND {} AND NOT EXISTS (SELECT FROM pg_constraint WHERE \
           conindid = indexrelid AND contype IN ('p', 'u', 'x'))",
        of_user()
    )
}

fn statistics() -> String {
    format!(
        "SELECT jsonb_build_object('kind', 'statistics', 'id', x.oid::text, 'name', format('%I.%I', nspname, stxname), \
           'schema', quote_ident(nspname), 'local', quote_ident(stxname), 'of', {TABLE}::text, \
           'create', pg_get_statisticsobjdef(x.oid), 'drop', format('DROP STATISTICS %I.%I', nspname, stxname), \
           'on', format('STATISTICS %I.%I', nspname, stxname), \
           'parts', jsonb_build_object('comment', obj_description(x.oid, 'pg_statistic_ext'))) \
         FROM pg_statistic_ext AS x JOIN pg_class AS c ON c.oid = stxrelid JOIN pg_namespace AS n ON n.oid = stxnamespace WHERE {}",
        of_user()
    )
}

fn triggers() -> String {
    let enabled = ", 'enabled', CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'A' THEN 'ENABLE ALWAYS' \
                   ELSE 'ENABLE' END";
    format!(
        "{} FROM pg_trigger AS x JOIN pg_class AS c ON c.oid = tgrelid JOIN pg_namespace AS n ON n.oid = relnamespace \
         WHERE NOT tgisinternal AND coalesce(to_jsonb(x) ->> 'tgparentid', '0') = '0' AND {}",
        object("trigger", "TRIGGER", "tgname", "pg_get_triggerdef(x.oid)", enabled, "pg_trigger"),
        of_user()
    )
}

fn rules() -> String {
    format!(
        "{} FROM pg_rewrite AS x JOIN pg_class AS c ON c.oid = ev_class JOIN pg_namespace AS n ON n.oid = relnamespace \
         WHERE rulename <> '_RETURN' AND {}",
        object(
            "rule",
            "RULE",
            "rulename",
            "replace(pg_get_ruledef(x.oid), 'CREATE RULE', 'CREATE OR REPLACE RULE')",
            "",
            "pg_rewrite"
        ),
        of_user()
    )
}

fn policies() -> String {
    let roles = "coalesce((SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ' ORDER BY r) \
                 FROM unnest(polroles) AS r), 'PUBLIC')";
    let create = format!(
        "format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', polname, {TABLE}, CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE \
         'RESTRICTIVE' END, CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE \
         'ALL' END, {roles}, coalesce(' USING (' || pg_get_expr(polqual, polrelid) || ')', ''), \
         coalesce(' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')', ''))"
    );
    format!(
        "{} FROM pg_policy AS x JOIN pg_class AS c ON c.oid = polrelid JOIN pg_namespace AS n ON n.oid = relnamespace WHERE {}",
        object("policy", "POLICY", "polname", &create, "", "pg_policy"),
        of_user()
    )
}
