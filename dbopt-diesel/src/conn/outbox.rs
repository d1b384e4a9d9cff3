//! The cache's outbox table.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Double, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

/// Made where it is missing; in the book, too.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS dbopt_cache_outbox (\
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
    tags text[] NOT NULL, \
    made_at timestamptz NOT NULL DEFAULT clock_timestamp())";

const TAKE: &str = "WITH left_there AS (\
    SELECT id FROM dbopt_cache_outbox WHERE made_at < clock_timestamp() - make_interval(secs => $1) \
    ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED) \
    DELETE FROM dbopt_cache_outbox USING left_there WHERE dbopt_cache_outbox.id = left_there.id \
    RETURNING dbopt_cache_outbox.tags";

#[derive(QueryableByName)]
struct Note {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

#[derive(QueryableByName)]
struct Left {
    #[diesel(sql_type = Array<Text>)]
    tags: Vec<String>,
}

pub(super) async fn make(pg: &mut AsyncPgConnection) -> QueryResult<()> {
    // Two instances that start together would both find it missing; the loser of the race gets an error otherwise.
    pg.batch_execute("SELECT pg_advisory_xact_lock(hashtext('dbopt_cache_outbox'))").await?;
    pg.batch_execute(TABLE).await
}

pub(super) async fn note(pg: &mut AsyncPgConnection, tags: &[String]) -> QueryResult<i64> {
    let insert = diesel::sql_query("INSERT INTO dbopt_cache_outbox (tags) VALUES ($1) RETURNING id");
    insert.bind::<Array<Text>, _>(tags).get_result::<Note>(pg).await.map(|note| note.id)
}

pub(super) async fn take(pg: &mut AsyncPgConnection, age: Duration, limit: u32) -> QueryResult<Vec<String>> {
    let take = diesel::sql_query(TAKE).bind::<Double, _>(age.as_secs_f64()).bind::<BigInt, _>(i64::from(limit));
    let mut tags: Vec<String> = take.load::<Left>(pg).await?.into_iter().flat_map(|left| left.tags).collect();
    tags.sort_unstable();
    tags.dedup();
    Ok(tags)
}

pub(super) async fn remove(pg: &mut AsyncPgConnection, rows: &[i64]) -> QueryResult<()> {
    let remove = diesel::sql_query("DELETE FROM dbopt_cache_outbox WHERE id = ANY($1)");
    remove.bind::<Array<BigInt>, _>(rows).execute(pg).await.map(drop)
}
