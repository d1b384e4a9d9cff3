//! What a server says about itself, in one cheap query.

use dbopt_core::backend::{NodeReport, Role};
use dbopt_core::position::Lsn;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable};

/// Any role may run it; only the receiver's state needs `pg_monitor`, and is unknown without it.
///
/// A primary's timeline is read from its current log file's name, because `pg_control_checkpoint()` keeps the old one for minutes
/// after a promotion. A standby's is the highest of those it knows. All values are plain numbers, so that the query can be
/// sent as a simple one too.
pub(crate) const SQL: &str = "\
SELECT r AS standby, \
 (SELECT system_identifier FROM pg_control_system()) AS system_identifier, \
 CASE WHEN r THEN greatest(\
   (SELECT received_tli FROM pg_stat_wal_receiver), \
   (SELECT timeline_id FROM pg_control_checkpoint()), \
   (SELECT min_recovery_end_timeline FROM pg_control_recovery())) \
  ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END AS timeline, \
 (CASE WHEN r THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END - '0/0'::pg_lsn)::bigint AS lsn, \
 CASE WHEN NOT r THEN NULL \
  WHEN NOT EXISTS (SELECT 1 FROM pg_stat_wal_receiver) THEN false \
  ELSE (SELECT status = 'streaming' FROM pg_stat_wal_receiver) END AS streaming, \
 current_setting('default_transaction_read_only')::bool AS read_only \
FROM (SELECT pg_is_in_recovery() AS r) AS node";

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
        }
    }
}
