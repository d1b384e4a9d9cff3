//! What no statement is derived for: it is noticed, so that nobody believes that a script brings it back.

use super::not_of_extension;

/// Where they are.
const CATALOGS: [&str; 13] = [
    "pg_cast",
    "pg_collation",
    "pg_conversion",
    "pg_event_trigger",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_language",
    "pg_opclass",
    "pg_operator",
    "pg_publication",
    "pg_transform",
    "pg_ts_config",
    "pg_ts_dict",
];

/// Lower numbers are those of the system.
const FIRST_OF_USERS: u32 = 16_384;

pub(super) fn queries() -> Vec<String> {
    let of = |catalog: &&str| {
        format!(
            "SELECT jsonb_build_object('kind', 'other', 'id', '{catalog}.' || x.oid, \
               'name', pg_describe_object('{catalog}'::regclass, x.oid, 0), 'local', x.oid::text) \
             FROM {catalog} AS x WHERE x.oid >= {FIRST_OF_USERS} AND {}",
            not_of_extension(catalog, "x.oid")
        )
    };
    let foreign = "SELECT jsonb_build_object('kind', 'other', 'id', c.oid::text, 'name', 'foreign table ' || c.oid::regclass, 'local', relname) \
                   FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace WHERE relkind = 'f' AND {user}";
    CATALOGS.iter().map(of).chain([foreign.to_owned()]).collect()
}
