//! The statements that a server has counted, of whatever application.

use dbopt_core::backend::Role;
use dbopt_core::query::advise::{Statement, Workload};

use super::catalog::one;
use super::error::{Doing, Error};
use super::options::APPLICATION;
use crate::connect::session;

/// More are not read.
const MOST: u32 = 1000;

/// What `pg_stat_statements` knows of the database of `url`.
///
/// # Errors
/// When the database cannot be reached, or does not count statements.
///
/// # Cancel safety
/// It only reads.
pub async fn counted_by_server(url: &str) -> Result<Workload, Error> {
    let session = session(url, APPLICATION).await.map_err(Error::Connect)?;
    let client = &session.client;
    let place = "SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace \
                 WHERE e.extname = 'pg_stat_statements'";
    let Some(schema) = one(client, place).await.doing("look for pg_stat_statements")? else {
        return Err(Error::NotCounted("this database does not have the extension pg_stat_statements".to_owned()));
    };
    let sql = format!(
        "SELECT query, sum(calls)::float8, sum(total_exec_time)::float8 FROM {schema}.pg_stat_statements \
         WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query IS NOT NULL \
         GROUP BY query ORDER BY 3 DESC LIMIT {MOST}"
    );
    let rows = client.query(&sql, &[]).await.map_err(|error| match error.as_db_error() {
        Some(db) => Error::NotCounted(format!("pg_stat_statements cannot be read: {}", db.message())),
        None => Error::Database { doing: "read pg_stat_statements", error },
    })?;
    let mut notes = Vec::new();
    let mut statements = Vec::new();
    for row in rows {
        let (sql, calls, total_ms): (String, f64, f64) = (row.get(0), row.get(1), row.get(2));
        if sql == "<insufficient privilege>" {
            notes.push(format!(
                "{calls:.0} runs of other users' statements are hidden: grant pg_read_all_stats to this user"
            ));
        } else if has_plan(&sql) {
            statements.push(Statement { sql, calls, total_ms, places: Vec::new() });
        }
    }
    let since = format!("SELECT extract(epoch FROM now() - stats_reset)::text FROM {schema}.pg_stat_statements_info");
    // Before PostgreSQL 14 nobody knows.
    let seconds = one(client, &since).await.ok().flatten().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    Ok(Workload { statements, seconds, notes })
}

/// The URL of the primary among these: the writes that an index costs are counted there.
///
/// # Errors
/// When none of them is one, or answers.
pub async fn primary_of(urls: &[String]) -> Result<String, Error> {
    let mut refused = Error::NoPrimary;
    for url in urls {
        match session(url, APPLICATION).await {
            Ok(session) if session.report.role == Role::Primary => return Ok(url.clone()),
            Ok(_) => {}
            Err(error) => refused = Error::Connect(error),
        }
    }
    Err(refused)
}

/// BEGIN, SET and the like are counted, too.
fn has_plan(sql: &str) -> bool {
    let first =
        sql.trim_start_matches(|c: char| c.is_whitespace() || c == '(').split(|c: char| !c.is_alphabetic()).next();
    let first = first.unwrap_or_default().to_ascii_lowercase();
    // A comment may stand first: what follows it is looked at when it is explained.
    first.is_empty()
        || ["select", "insert", "update", "delete", "with", "merge", "values", "table"].contains(&first.as_str())
}
