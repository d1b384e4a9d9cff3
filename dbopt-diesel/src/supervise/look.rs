//! What a coordinator asks a server, in one query.

use dbopt_core::failover::{Conninfo, Place, Receiver, Seen};
use dbopt_core::position::Lsn;
use tokio_postgres::SimpleQueryRow;

use crate::probe::{identity, node};

/// The vote of a server: an advisory lock of a session in its database `postgres`, where all coordinators look for it.
pub(super) const VOTE: &str = "1684172656, 1";

/// As text throughout, for the simple protocol. The receiver is joined, so it is
/// looked at before the position: one that is gone adds nothing to it.
pub(super) const SQL: &str = concat!(
    "SELECT ",
    identity!(),
    ", \
 (CASE WHEN r THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) \
  ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn)::bigint AS position, \
 CASE WHEN NOT r THEN (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint END AS forked_at, \
 r AND w.pid IS NOT NULL AS receives, \
 coalesce(w.status, 'streaming') = 'streaming' AS streaming, \
 (extract(epoch FROM clock_timestamp() - w.last_msg_receipt_time) * 1000)::bigint AS silence, \
 (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_receiver_timeout') AS receiver_timeout, \
 w.sender_host, w.sender_port, \
 current_setting('default_transaction_read_only')::bool AS read_only, \
 current_setting('synchronous_standby_names') AS synchronous, \
 (SELECT setting FROM pg_settings WHERE name = 'primary_conninfo') AS conninfo, \
 current_setting('primary_slot_name') AS slot, \
 (SELECT timeline_id FROM pg_control_checkpoint()) AS checkpointed, \
 (SELECT string_agg(application_name, E'\\n') FROM pg_stat_replication WHERE state = 'streaming') AS followers, \
 (SELECT string_agg(slot_name, E'\\n') FROM pg_replication_slots WHERE wal_status = 'lost') AS lost_slots, \
 EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 1684172656 AND objid = 1 AND objsubid = 2 \
  AND granted AND pid <> pg_backend_pid()) AS taken \
FROM ",
    node!()
);

/// Longer than this, in milliseconds, a receiver hears nothing only if its sender is gone: after half of its time-out it asks for an answer.
fn healthy_silence(receiver_timeout: i64) -> i64 {
    // Without a time-out it never asks: silence means nothing.
    if receiver_timeout == 0 { i64::MAX } else { receiver_timeout / 2 + 500 }
}

/// Reads the row.
pub(super) fn read(row: &SimpleQueryRow) -> Option<Seen> {
    let flag = |name: &str| row.get(name).map(|text| text == "t");
    let number = |name: &str| row.get(name).and_then(|text| text.parse::<i64>().ok());
    let lsn = |name: &str| number(name).map(|lsn| Lsn(lsn.cast_unsigned()));
    let lines = |name: &str| row.get(name).map_or_else(Vec::new, |text| text.lines().map(str::to_owned).collect());
    let standby = flag("standby")?;
    let timeline: u32 = row.get("timeline")?.parse().ok()?;
    let from = row.get("sender_host").zip(row.get("sender_port").and_then(|port| port.parse().ok()));
    let receiver = Receiver {
        streaming: flag("streaming").unwrap_or(true),
        silent: number("silence").unwrap_or(0) > number("receiver_timeout").map_or(i64::MAX, healthy_silence),
        from: from.map(|(host, port)| Place { host: host.to_owned(), port }),
    };
    Some(Seen {
        standby,
        system_identifier: row.get("system_identifier")?.parse::<i64>().ok()?.cast_unsigned(),
        timeline,
        position: lsn("position").unwrap_or_default(),
        forked_at: lsn("forked_at"),
        receiver: flag("receives")?.then_some(receiver),
        read_only: flag("read_only")?,
        synchronous: row.get("synchronous")?.to_owned(),
        conninfo: row.get("conninfo").and_then(Conninfo::parse),
        slot: row.get("slot").filter(|slot| !slot.is_empty()).map(str::to_owned),
        checkpointed: standby || number("checkpointed") == Some(timeline.into()),
        followers: lines("followers"),
        lost_slots: lines("lost_slots"),
        taken: flag("taken")?,
    })
}
