//! Where the primary's log ends.

use std::error::Error;
use std::time::Duration;

use dbopt_diesel::core::backend::Backend;
use dbopt_diesel::core::position::{Lsn, Position};
use dbopt_diesel::{Config, Conn, Postgres};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Integer};
use diesel_async::{AsyncConnection, RunQueryDsl};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(5);

/// No row on a replica. The log file's name has the timeline; the control file would show the old one for minutes after a promotion.
const SQL: &str = "\
SELECT ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int AS timeline, \
 (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS lsn \
FROM (SELECT 1 WHERE NOT pg_is_in_recovery()) AS primary_only";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Integer)]
    timeline: i32,
    #[diesel(sql_type = BigInt)]
    lsn: i64,
}

/// Where the primary's log ends: whatever was committed before this was called lies before it. `None`, with a word on stderr, where
/// no primary is configured or answers; then nobody can tell which replicas have caught up.
pub(super) async fn position(config: &Config) -> Option<Position> {
    let database = &config.database;
    let urls = database.nodes.iter().map(|node| &node.url).chain([&database.url]).chain(&database.replicas);
    let mut urls: Vec<String> = urls.map(|url| url.expose().to_owned()).filter(|url| !url.is_empty()).collect();
    urls.extend(found(database.discover.expose()).await);
    let mut newest: Option<Position> = None;
    let mut last = "no server is a primary".to_owned();
    for url in &urls {
        match timeout(PATIENCE, ask(url)).await {
            Ok(Ok(Some(position))) if newest.is_none_or(|known| position.covers(known)) => newest = Some(position),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = format!("no answer within {} s", PATIENCE.as_secs()),
        }
    }
    if newest.is_none() {
        let why = if urls.is_empty() { "no database is configured".to_owned() } else { last };
        eprintln!(
            "the primary's position is not known ({why}): a replica that lags may be read before it has the change"
        );
    }
    newest
}

/// The URL once for each address that its host has.
async fn found(url: &str) -> Vec<String> {
    let Some(place) = Postgres::default().place(url) else { return Vec::new() };
    let addresses = timeout(PATIENCE, tokio::net::lookup_host(place)).await;
    let joint = if url.contains('?') { '&' } else { '?' };
    let all = addresses.into_iter().flatten().flatten();
    all.map(|address| format!("{url}{joint}hostaddr={}", address.ip())).collect()
}

async fn ask(url: &str) -> Result<Option<Position>, Box<dyn Error>> {
    let mut conn = Conn::establish(url).await?;
    let rows: Vec<Row> = diesel::sql_query(SQL).load(&mut conn).await?;
    let position = |row: Row| Position { timeline: row.timeline.cast_unsigned(), lsn: Lsn(row.lsn.cast_unsigned()) };
    Ok(rows.into_iter().next().map(position))
}
