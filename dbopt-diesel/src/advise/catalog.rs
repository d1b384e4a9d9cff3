//! The catalog of a database, as advice needs it. Every part comes as JSON, so that the server names what it gives.

use dbopt_core::query::advise::Catalog;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::error::{Doing, Error};

const TABLES: &str = "
    SELECT coalesce(json_agg(json_build_object(
        'schema', n.nspname, 'name', c.relname, 'rows', CASE WHEN c.reltuples < 0 THEN 0 ELSE c.reltuples END,
        'pages', CASE WHEN c.relkind = 'p' THEN 0 ELSE pg_relation_size(c.oid) / 8192 END,
        'partitioned', c.relispartition OR c.relkind = 'p',
        'inserted', coalesce(s.n_tup_ins, 0), 'updated', coalesce(s.n_tup_upd, 0), 'deleted', coalesce(s.n_tup_del, 0),
        'columns', (SELECT coalesce(json_agg(json_build_object(
                'name', a.attname, 'kind', format_type(a.atttypid, NULL), 'distinct', coalesce(st.n_distinct, 0), 'nulls', coalesce(st.null_frac, 0),
                'width', coalesce(st.avg_width, 16),
                'collation', (SELECT collname FROM pg_collation WHERE oid = a.attcollation AND collname <> 'default')) ORDER BY a.attnum), '[]')
            FROM pg_attribute AS a
            LEFT JOIN pg_stats AS st ON st.schemaname = n.nspname AND st.tablename = c.relname AND st.attname = a.attname AND NOT st.inherited
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
        'indexes', (SELECT coalesce(json_agg(json_build_object(
                'name', ic.relname, 'method', am.amname, 'predicate', pg_get_expr(i.indpred, i.indrelid, true), 'unique', i.indisunique,
                'constraint', i.indisprimary OR i.indisreplident OR EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid),
                'valid', i.indisvalid, 'building', EXISTS (SELECT FROM pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid),
                'scans', coalesce(su.idx_scan, 0), 'bytes', pg_relation_size(i.indexrelid),
                'keys', (SELECT coalesce(json_agg(json_build_object('sql', pg_get_indexdef(i.indexrelid, k, true),
                        'descending', (i.indoption[k - 1] & 1) = 1,
                        'class', (SELECT opcname FROM pg_opclass WHERE oid = i.indclass[k - 1] AND NOT opcdefault)) ORDER BY k), '[]')
                    FROM generate_series(1, i.indnkeyatts) AS k)) ORDER BY ic.relname), '[]')
            FROM pg_index AS i JOIN pg_class AS ic ON ic.oid = i.indexrelid JOIN pg_am AS am ON am.oid = ic.relam
            LEFT JOIN pg_stat_user_indexes AS su ON su.indexrelid = i.indexrelid
            WHERE i.indrelid = c.oid))), '[]')::text
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace LEFT JOIN pg_stat_user_tables AS s ON s.relid = c.oid
    WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

const FOREIGN_KEYS: &str = "
    SELECT coalesce(json_agg(json_build_object(
        'name', k.conname, 'table', json_build_array(cn.nspname, c.relname), 'parent', json_build_array(pn.nspname, p.relname),
        'columns', (SELECT json_agg(a.attname ORDER BY at) FROM unnest(k.conkey) WITH ORDINALITY AS u (attnum, at)
            JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.attnum))), '[]')::text
    FROM pg_constraint AS k
    JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_namespace AS cn ON cn.oid = c.relnamespace
    JOIN pg_class AS p ON p.oid = k.confrelid JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0";

/// Since the counters were reset, or else since the cluster was made: that time is in its identifier.
const REST: &str = "
    SELECT json_build_object(
        'tables', '[]'::json, 'foreign_keys', '[]'::json,
        'counted_seconds', (SELECT extract(epoch FROM now() - coalesce(stats_reset,
                to_timestamp((SELECT system_identifier >> 32 FROM pg_control_system())))) FROM pg_stat_database WHERE datname = current_database()),
        'standbys', (SELECT count(*) FROM pg_stat_replication),
        'sorts_bytes', (SELECT datcollate IN ('C', 'POSIX') FROM pg_database WHERE datname = current_database()))::text";

/// Reads it, and what of it this user cannot see.
pub(super) async fn read(client: &Client) -> Result<(Catalog, Vec<String>), Error> {
    let text = async |sql: &str| one(client, sql).await.doing("read the catalog").map(Option::unwrap_or_default);
    let mut catalog: Catalog = serde_json::from_str(&text(REST).await?)?;
    catalog.tables = serde_json::from_str(&text(TABLES).await?)?;
    catalog.foreign_keys = serde_json::from_str(&text(FOREIGN_KEYS).await?)?;
    let mut notes = Vec::new();
    let blind =
        |table: &&dbopt_core::query::advise::Table| !table.is_small() && table.rows == 0.0 && !table.partitioned;
    let unknown: Vec<&str> = catalog.tables.iter().filter(blind).map(|table| table.name.as_str()).collect();
    if !unknown.is_empty() {
        notes.push(format!("never analyzed, so that the planner guesses: {}; run ANALYZE", unknown.join(", ")));
    }
    for table in &mut catalog.tables {
        if table.rows == 0.0 {
            // As many as fit, at 160 bytes each.
            table.rows = table.pages * 50.0;
        }
    }
    let hidden = "SELECT count(*)::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
                  WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
                  AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT'))";
    if let Some(hidden) = one(client, hidden).await.doing("read the catalog")?.filter(|count| count != "0") {
        notes.push(format!(
            "{hidden} tables cannot be read by this user, and their statements not be explained: grant pg_read_all_data"
        ));
    }
    Ok((catalog, notes))
}

/// The first value of the first row, as text.
pub(super) async fn one(client: &Client, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    Ok(messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}
