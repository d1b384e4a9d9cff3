//! What a transaction is recognised by after its connection is lost, and what became of it.
//!
//! A transaction's number says that it was committed only as long as no other one can have got the same number: a server that
//! crashed gives those again of which nothing had reached its log, and so does a replica that was promoted without having heard of
//! them. So a number belongs to a life of the server, and of another life only "aborted" is believed: whether it is ours or was given again,
//! nothing of ours is there.

use dbopt_core::backend::{Fate, TransactionMark};
use diesel::data_types::PgTimestamp;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::join;

/// PostgreSQL's `xid8`.
#[derive(diesel::sql_types::SqlType, diesel::query_builder::QueryId)]
#[diesel(postgres_type(oid = 5069, array_oid = 271))]
#[allow(unreachable_pub, reason = "the functions that diesel's macro makes are public, and name it")]
pub struct Xid8;

/// A transaction's number, which never repeats in one life of a server.
#[derive(Debug, Clone, Copy, AsExpression, FromSqlRow)]
#[diesel(sql_type = Xid8)]
pub(super) struct Number(u64);

impl FromSql<Xid8, Pg> for Number {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Number(u64::from_be_bytes(value.as_bytes().try_into()?)))
    }
}

impl ToSql<Xid8, Pg> for Number {
    fn to_sql(&self, out: &mut Output<'_, '_, Pg>) -> serialize::Result {
        std::io::Write::write_all(out, &self.0.to_be_bytes())?;
        Ok(IsNull::No)
    }
}

diesel::define_sql_function! {
    /// The number of the current transaction, given to it if it has none.
    fn pg_current_xact_id() -> Xid8;
}
diesel::define_sql_function! {
    /// `committed`, `aborted` or `in progress`; null for one that is too old.
    fn pg_xact_status(id: Xid8) -> diesel::sql_types::Nullable<diesel::sql_types::Text>;
}
diesel::define_sql_function! {
    /// When the server was started.
    fn pg_postmaster_start_time() -> diesel::sql_types::Timestamptz;
}
diesel::define_sql_function! {
    /// When its statistics began: anew after each crash, also of one session, which does not start the postmaster again.
    fn pg_stat_get_bgwriter_stat_reset_time() -> diesel::sql_types::Nullable<diesel::sql_types::Timestamptz>;
}

/// BEGIN, and right behind it, in the same round trip, the question for the transaction's number.
pub(super) async fn begin(pg: &AsyncPgConnection, timeline: Option<u32>) -> QueryResult<TransactionMark> {
    let (mut begin, mut ask) = (pg, pg);
    let question =
        diesel::select((pg_current_xact_id(), pg_postmaster_start_time(), pg_stat_get_bgwriter_stat_reset_time()));
    let answer = question.get_result::<(Number, PgTimestamp, Option<PgTimestamp>)>(&mut ask);
    let (begun, answer) = join(begin.batch_execute("BEGIN"), answer).await;
    begun?;
    let (Number(id), started, reset) = answer?;
    Ok(TransactionMark { id, life: life(timeline, started, reset) })
}

/// What became of it.
pub(super) async fn of(pg: &AsyncPgConnection, timeline: Option<u32>, mark: &TransactionMark) -> QueryResult<Fate> {
    let mut ask = pg;
    let now = diesel::select((pg_postmaster_start_time(), pg_stat_get_bgwriter_stat_reset_time()));
    let (started, reset) = now.get_result::<(PgTimestamp, Option<PgTimestamp>)>(&mut ask).await?;
    let same_life = life(timeline, started, reset) == mark.life;
    let status = diesel::select(pg_xact_status(Number(mark.id))).get_result::<Option<String>>(&mut ask).await;
    Ok(match (status?.as_deref(), same_life) {
        (Some("committed"), true) => Fate::Committed,
        (Some("in progress"), true) => Fate::InProgress,
        (Some("aborted"), _) => Fate::Aborted,
        _ => Fate::Unknown,
    })
}

fn life(timeline: Option<u32>, started: PgTimestamp, reset: Option<PgTimestamp>) -> String {
    format!("{timeline:?}/{}/{:?}", started.0, reset.map(|time| time.0))
}
