//! Schemas, extensions and default privileges.

use super::{grants, owner};

pub(super) fn queries() -> Vec<String> {
    vec![schemas(), extensions(), default_privileges()]
}

fn schemas() -> String {
    format!(
        "SELECT jsonb_build_object('kind', 'schema', 'id', n.oid::text, 'name', quote_ident(nspname), 'local', quote_ident(nspname), \
           'create', format('CREATE SCHEMA %I', nspname), 'drop', format('DROP SCHEMA %I', nspname), \
           'on', format('SCHEMA %I', nspname), 'grant_on', format('SCHEMA %I', nspname), \
           'parts', jsonb_build_object('owner', {}, 'comment', obj_description(n.oid, 'pg_namespace'), 'grants', {})) \
         FROM pg_namespace AS n WHERE {{user}}",
        owner("nspowner"),
        grants("nspacl", "n", "nspowner")
    )
}

fn extensions() -> String {
    "SELECT jsonb_build_object('kind', 'extension', 'id', e.oid::text, 'name', quote_ident(extname), 'local', quote_ident(extname), \
       'create', format('CREATE EXTENSION %I WITH SCHEMA %I', extname, nspname), 'drop', format('DROP EXTENSION %I', extname), \
       'on', format('EXTENSION %I', extname), 'parts', jsonb_build_object('comment', obj_description(e.oid, 'pg_extension'))) \
     FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = extnamespace"
        .to_owned()
}

fn default_privileges() -> String {
    let head = "format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s ', pg_get_userbyid(defaclrole), \
                coalesce(' IN SCHEMA ' || quote_ident(nspname), ''))";
    let what = "CASE defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES' WHEN 'T' THEN 'TYPES' ELSE 'SCHEMAS' END";
    let whom = "CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END";
    // What the owner has anyway needs no statement.
    let each = "FROM aclexplode(defaclacl) AS a WHERE a.grantee <> defaclrole";
    format!(
        "SELECT jsonb_build_object('kind', 'default_privileges', 'id', d.oid::text, \
           'name', format('%I %s %s', pg_get_userbyid(defaclrole), coalesce(quote_ident(nspname), '-'), {what}), 'local', defaclobjtype, \
           'create', coalesce((SELECT string_agg({head} || format('GRANT %s ON %s TO %s%s', a.privilege_type, {what}, {whom}, \
             CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), '; ' ORDER BY a.privilege_type, a.grantee) {each}), ''), \
           'drop', coalesce((SELECT string_agg({head} || format('REVOKE %s ON %s FROM %s', a.privilege_type, {what}, {whom}), '; ' \
             ORDER BY a.privilege_type, a.grantee) {each}), '')) \
         FROM pg_default_acl AS d LEFT JOIN pg_namespace AS n ON n.oid = defaclnamespace"
    )
}
