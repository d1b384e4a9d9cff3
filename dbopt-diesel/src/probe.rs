//! What a server says about itself, in one cheap query.

use dbopt_core::backend::{NodeReport, Role, ServerMark, Upstream};
use dbopt_core::position::Lsn;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// Columns that say which server it is: `standby`, `system_identifier`, `timeline`. They need `r` and `w` of `node!`.
///
/// A primary's timeline is read from its current log file's name, because `pg_control_checkpoint()` keeps the old one for minutes
/// after a promotion. A standby's is the highest of those it knows.
macro_rules! identity {
    () => {
        "r AS standby, \
 (SELECT system_identifier FROM pg_control_system()) AS system_identifier, \
 CASE WHEN r THEN greatest(w.received_tli, \
   (SELECT timeline_id FROM pg_control_checkpoint()), \
   (SELECT min_recovery_end_timeline FROM pg_control_recovery())) \
  ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END AS timeline"
    };
}

/// A row about the server: `r`, whether it is in recovery, and its receiver `w`, if it has one.
macro_rules! node {
    () => {
        "(SELECT pg_is_in_recovery() AS r) AS node LEFT JOIN pg_stat_wal_receiver AS w ON true"
    };
}
#[cfg(feature = "supervise")]
pub(crate) use {identity, node};

/// Any role may run it; only what the receiver does needs `pg_monitor`, and is unknown without it.
///
/// What a primary replayed last was before its promotion. All values are plain numbers or text, so that the query can be sent as a simple
/// one too.
pub(crate) const SQL: &str = concat!(
    "SELECT ",
    identity!(),
    ", \
 (CASE WHEN r THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END - '0/0'::pg_lsn)::bigint AS lsn, \
 CASE WHEN NOT r THEN NULL WHEN w.pid IS NULL THEN false ELSE w.status = 'streaming' END AS streaming, \
 current_setting('default_transaction_read_only')::bool AS read_only, \
 CASE WHEN r THEN pg_is_wal_replay_paused() ELSE false END AS paused, \
 CASE WHEN r THEN w.sender_host END AS sender_host, \
 CASE WHEN r THEN w.sender_port END AS sender_port, \
 CASE WHEN NOT r THEN (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint END AS forked_at, \
 (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS started, \
 current_setting('port')::int AS port \
FROM ",
    node!()
);

#[derive(Debug, QueryableByName)]
pub(crate) struct Row {
    #[diesel(sql_type = Bool)]
    standby: bool,
    #[diesel(sql_type = BigInt)]
    system_identifier: i64,
    #[diesel(sql_type = Nullable<Integer>)]
    timeline: Option<i32>,
    #[diesel(sql_type = Nullable<BigInt>)]
    lsn: Option<i64>,
    #[diesel(sql_type = Nullable<Bool>)]
    streaming: Option<bool>,
    #[diesel(sql_type = Bool)]
    read_only: bool,
    #[diesel(sql_type = Bool)]
    paused: bool,
    #[diesel(sql_type = Nullable<Text>)]
    sender_host: Option<String>,
    #[diesel(sql_type = Nullable<Integer>)]
    sender_port: Option<i32>,
    #[diesel(sql_type = Nullable<BigInt>)]
    forked_at: Option<i64>,
    #[diesel(sql_type = BigInt)]
    started: i64,
    #[diesel(sql_type = Integer)]
    port: i32,
}

impl Row {
    /// Reads a row of a simple query, whose values are text.
    pub(crate) fn from_text(row: &tokio_postgres::SimpleQueryRow) -> Option<Row> {
        let flag = |name: &str| row.get(name).map(|text| text == "t");
        Some(Row {
            standby: flag("standby")?,
            system_identifier: row.get("system_identifier")?.parse().ok()?,
            timeline: row.get("timeline").and_then(|text| text.parse().ok()),
            lsn: row.get("lsn").and_then(|text| text.parse().ok()),
            streaming: flag("streaming"),
            read_only: flag("read_only")?,
            paused: flag("paused")?,
            sender_host: row.get("sender_host").map(str::to_owned),
            sender_port: row.get("sender_port").and_then(|text| text.parse().ok()),
            forked_at: row.get("forked_at").and_then(|text| text.parse().ok()),
            started: row.get("started")?.parse().ok()?,
            port: row.get("port")?.parse().ok()?,
        })
    }

    pub(crate) fn report(&self) -> NodeReport {
        NodeReport {
            role: if self.standby { Role::Replica } else { Role::Primary },
            system_identifier: self.system_identifier.cast_unsigned(),
            timeline: self.timeline.map(i32::cast_unsigned),
            lsn: Lsn(self.lsn.unwrap_or(0).cast_unsigned()),
            streaming: self.streaming,
            read_only: self.read_only,
            paused: self.paused,
            upstream: self.upstream(),
            forked_at: self.forked_at.map(|lsn| Lsn(lsn.cast_unsigned())),
            server: ServerMark { started: self.started, port: self.port.try_into().unwrap_or(0) },
        }
    }
    fn upstream(&self) -> Option<Upstream> {
        let port = self.sender_port?.try_into().ok()?;
        Some(Upstream { host: self.sender_host.as_deref()?.into(), port })
    }
}

#[derive(Debug, QueryableByName)]
struct Machine {
    #[diesel(sql_type = Text)]
    reading: String,
}

/// The first row of a query about the server's machine, as JSON.
pub(crate) async fn machine(conn: &mut AsyncPgConnection, query: &str) -> QueryResult<Option<String>> {
    let query = query.trim().trim_end_matches(';');
    let sql = format!("SELECT to_jsonb(machine)::text AS reading FROM (\n{query}\n) AS machine LIMIT 1");
    let row = diesel::sql_query(sql).get_result::<Machine>(conn).await.optional()?;
    Ok(row.map(|row| row.reading))
}
