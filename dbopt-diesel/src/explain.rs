//! How the server would run a statement, asked without running it.
//!
//! EXPLAIN without ANALYZE plans and runs nothing; a read-only transaction and session see to it that this stays true. PREPARE goes over
//! the extended protocol, which takes one statement alone. PostgreSQL 15 explains a statement with placeholders only as a prepared one, and
//! makes it a plan for any values only if told to.

use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

const BEGIN: &str = "BEGIN READ ONLY; SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL statement_timeout = '500ms'; \
                     SET LOCAL lock_timeout = '100ms'";

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
    conn.batch_execute(BEGIN).await?;
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
