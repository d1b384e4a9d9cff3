//! How the server would run a statement, asked without running it.
//!
//! EXPLAIN without ANALYZE plans and runs nothing; a read-only transaction and session see to it that this stays true. PREPARE goes over
//! the extended protocol, which takes one statement alone. PostgreSQL 15 explains a statement with placeholders only as a prepared one, and
//! makes it a plan for any values only if told to.

mod bound;

use dbopt_core::backend::BoundValue;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

/// What is asked changes nothing and holds nobody up.
const BEGIN: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = '500ms'; SET LOCAL lock_timeout = '100ms'";

/// Without values the planner makes a plan for any.
const FOR_ANY_VALUES: &str = "SET LOCAL plan_cache_mode = force_generic_plan";

/// What changes with ANALYZE, with a growth by a tenth, and with each change of a table or its indexes: on a standby, too, where nobody counts when it was analyzed.
/// Of the statistics those parts that hold no values.
const MARKS: &str = "
    SELECT c.relname::text AS name, md5(string_agg(concat_ws('/', c.oid, c.xmin, c.relnatts, round(ln(greatest(c.reltuples, 1)::float8) * 10),
        (SELECT string_agg(concat_ws(',', i.indexrelid, i.xmin, i.indisvalid), ';' ORDER BY i.indexrelid) FROM pg_index AS i WHERE i.indrelid = c.oid),
        (SELECT string_agg(concat_ws(',', s.attname, s.inherited, s.n_distinct, s.null_frac, s.correlation, s.most_common_freqs::text), ';'
            ORDER BY s.attname, s.inherited) FROM pg_stats AS s WHERE s.schemaname = n.nspname AND s.tablename = c.relname)), '|' ORDER BY c.oid)) AS mark
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relname = ANY ($1::text[]::name[]) AND c.relkind IN ('r', 'p', 'm') GROUP BY c.relname";

#[derive(QueryableByName)]
struct Marked {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    mark: String,
}

/// A mark of each table of these names that is there.
pub(crate) async fn table_marks(conn: &mut AsyncPgConnection, tables: &[String]) -> QueryResult<Vec<(String, String)>> {
    conn.batch_execute(BEGIN).await?;
    let told = diesel::sql_query(MARKS).bind::<Array<Text>, _>(tables).load::<Marked>(conn).await;
    conn.batch_execute("ROLLBACK").await?;
    told.map(|all| all.into_iter().map(|Marked { name, mark }| (name, mark)).collect())
}

/// The plan of `statement` in JSON, for these values. They go beside the text, as they did in the run that had them: what the server notes down
/// of EXPLAIN, in `pg_stat_statements` for example, does not have them.
pub(crate) async fn explain_with(
    conn: &mut AsyncPgConnection,
    statement: &str,
    values: &[BoundValue<'_>],
) -> QueryResult<String> {
    conn.batch_execute(BEGIN).await?;
    let mut asked = diesel::sql_query(format!("EXPLAIN (FORMAT JSON) {statement}")).into_boxed::<Pg>();
    for value in values {
        asked = bound::bind(asked, *value);
    }
    let told = asked.get_result::<Told>(conn).await;
    conn.batch_execute("ROLLBACK").await?;
    told.map(|told| told.plan)
}

#[derive(QueryableByName)]
struct Told {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    plan: String,
}

/// The plan of `statement` in JSON.
pub(crate) async fn explain(
    conn: &mut AsyncPgConnection,
    statement: &str,
    types: &[&'static str],
    params: u16,
) -> QueryResult<String> {
    conn.batch_execute(&format!("{BEGIN}; {FOR_ANY_VALUES}")).await?;
    let types = if types.is_empty() { String::new() } else { format!(" ({})", types.join(", ")) };
    let prepared = diesel::sql_query(format!("PREPARE dbopt_plan{types} AS {statement}")).execute(conn).await;
    let told = match &prepared {
        Ok(_) => {
            let values = vec!["NULL"; usize::from(params)].join(", ");
            let values = if params == 0 { values } else { format!("({values})") };
            let sql = format!("EXPLAIN (FORMAT JSON) EXECUTE dbopt_plan{values}");
            diesel::sql_query(sql).get_result::<Told>(conn).await
        }
        Err(_) => Err(diesel::result::Error::NotFound),
    };
    conn.batch_execute("ROLLBACK").await?;
    // What is prepared outlives its transaction.
    if prepared.is_ok() {
        conn.batch_execute("DEALLOCATE dbopt_plan").await?;
    }
    prepared.and(told).map(|told| told.plan)
}
