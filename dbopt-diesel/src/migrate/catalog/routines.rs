//! Functions, procedures and aggregates.

use super::{grants, owner};

pub(super) fn queries() -> Vec<String> {
    let word = "CASE prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END";
    let aggregate = "(SELECT format('CREATE AGGREGATE %s (SFUNC = %s, STYPE = %s%s%s%s)', p.oid::regprocedure, aggtransfn::regproc, \
        format_type(aggtranstype, NULL), CASE WHEN aggfinalfn <> 0 THEN format(', FINALFUNC = %s', aggfinalfn::regproc) ELSE '' END, \
        coalesce(', INITCOND = ' || quote_literal(agginitval), ''), \
        CASE WHEN aggcombinefn <> 0 THEN format(', COMBINEFUNC = %s', aggcombinefn::regproc) ELSE '' END) \
        FROM pg_aggregate WHERE aggfnoid = p.oid)";
    vec![format!(
        "SELECT jsonb_build_object('kind', 'routine', 'id', p.oid::text, 'name', p.oid::regprocedure::text, 'schema', quote_ident(nspname), \
           'local', quote_ident(proname), \
           'create', CASE WHEN prokind = 'a' THEN {aggregate} ELSE rtrim(pg_get_functiondef(p.oid), E'\\n') END, \
           'drop', format('DROP ROUTINE %s', p.oid::regprocedure), 'on', format('%s %s', {word}, p.oid::regprocedure), \
           'grant_on', format('ROUTINE %s', p.oid::regprocedure), \
           'parts', jsonb_build_object('owner', {}, 'comment', obj_description(p.oid, 'pg_proc'), 'grants', {})) \
         FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace WHERE {{user}} AND NOT EXISTS (SELECT FROM pg_depend AS d \
           WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype IN ('e', 'i'))",
        owner("proowner"),
        grants("proacl", "f", "proowner")
    )]
}
