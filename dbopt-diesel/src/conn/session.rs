//! What the runtime asks of a connection.

use std::time::Duration;

use dbopt_core::backend::{
    BoundValue, Connection, Fate, Fault, FaultKind, Health, NodeReport, OnBehalf, TransactionMark,
};
use dbopt_core::error::SqlState;
use dbopt_core::position::{Lsn, Position};
use diesel::data_types::PgLsn;
use diesel::prelude::*;
use diesel_async::{AnsiTransactionManager, AsyncConnection, RunQueryDsl, SimpleAsyncConnection, TransactionManager};
use tokio::time::{Instant, sleep};

use super::{COMMIT, Conn, fate, outbox, pg_current_wal_insert_lsn, pg_last_wal_replay_lsn};
use crate::explain::{explain, explain_with, table_marks};
use crate::probe;

/// A standby's timeline changes when its primary does; nothing on the wire says so.
const TIMELINE_IS_GOOD_FOR: Duration = Duration::from_secs(5);

/// How long what was left running may take to end by itself: the tail of a result that nobody read to its end does at once, and
/// a cancellation costs the server a process.
const GRACE: Duration = Duration::from_millis(3);

/// How long a cancelled statement may take to end before it is cancelled again.
const CANCEL_AGAIN_AFTER: Duration = Duration::from_millis(50);

impl Connection for Conn {
    fn health(&mut self) -> Health {
        self.wire.call_over();
        if self.wire.is_closed() {
            Health::Closed
        } else if self.has_left_over() {
            Health::Busy
        } else if self.wire.in_transaction() || AnsiTransactionManager::is_broken_transaction_manager(&mut self.pg) {
            Health::InTransaction
        } else if self.wire.is_outdated() {
            Health::Closed
        } else {
            Health::Clean
        }
    }

    fn begin_call(&mut self, track_position: bool) {
        self.wire.forget_faults();
        // Left over by a BEGIN whose caller went away.
        self.wants_mark = false;
        self.track_position = track_position;
        self.committed_at = None;
        drop(self.invalidations.take());
    }

    fn works_for(&mut self, on_behalf: OnBehalf<'_>) {
        self.wire.works_for(on_behalf);
    }

    fn fault(&mut self) -> Option<Fault> {
        self.wire.fault()
    }

    fn committed_at(&mut self) -> Option<Position> {
        self.committed_at.take()
    }

    fn take_invalidations(&mut self) -> Vec<String> {
        self.invalidations.take()
    }

    async fn note_invalidations(&mut self, tags: &[String]) -> Result<Option<i64>, Fault> {
        let noted = outbox::note(&mut self.pg, tags).await;
        self.told(noted).map(Some)
    }

    async fn take_notes(&mut self, age: Duration, limit: u32) -> Result<Vec<String>, Fault> {
        let taken = outbox::take(&mut self.pg, age, limit).await;
        self.told(taken)
    }

    async fn remove_notes(&mut self, rows: &[i64]) -> Result<(), Fault> {
        let removed = outbox::remove(&mut self.pg, rows).await;
        self.told(removed)
    }

    async fn make_outbox(&mut self) -> Result<(), Fault> {
        let made = outbox::make(&mut self.pg).await;
        self.told(made)
    }

    async fn set_read_only(&mut self, read_only: bool) -> Result<(), Fault> {
        if self.read_only != Some(read_only) {
            // Dropped on the way, it leaves nobody knowing.
            self.read_only = None;
            let mode = if read_only { "ONLY" } else { "WRITE" };
            let sql = format!("SET SESSION CHARACTERISTICS AS TRANSACTION READ {mode}");
            let done = self.pg.batch_execute(&sql).await;
            self.told(done)?;
            self.read_only = Some(read_only);
        }
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), Fault> {
        let begun = AnsiTransactionManager::begin_transaction(self).await;
        self.told(begun)
    }

    async fn begin_marked(&mut self) -> Result<Option<TransactionMark>, Fault> {
        (self.wants_mark, self.mark) = (true, None);
        let begun = AnsiTransactionManager::begin_transaction(self).await;
        self.wants_mark = false;
        self.told(begun)?;
        Ok(self.mark.take())
    }

    async fn fate_of(&mut self, mark: &TransactionMark) -> Result<Fate, Fault> {
        let told = fate::of(&self.pg, self.timeline, mark).await;
        match self.told(told) {
            // The number is still to be given: nothing of that transaction has reached this server's log.
            Err(fault) if fault.sqlstate == Some(SqlState(*b"22023")) => Ok(Fate::Aborted),
            told => told,
        }
    }

    fn refuses_writes(&self) -> bool {
        self.wire.is_standby() || self.wire.is_read_only()
    }

    async fn commit(&mut self) -> Result<(), Fault> {
        let manager_agrees = self.manager_agrees();
        self.undo_abandoned().await?;
        if self.wire.transaction_failed() {
            self.rollback().await?;
            return Err(rolled_back());
        }
        // What the body met and handled is not why a COMMIT fails.
        self.wire.forget_faults();
        let committed = if manager_agrees {
            AnsiTransactionManager::commit_transaction(self).await
        } else {
            self.batch_execute(COMMIT).await
        };
        if !self.wire.in_transaction() {
            self.reset_manager();
        }
        match committed {
            Err(diesel::result::Error::RollbackTransaction) => Err(rolled_back()),
            committed => self.told(committed),
        }
    }

    async fn rollback(&mut self) -> Result<(), Fault> {
        // Looked at first: a manager that was stopped in the middle of a statement of its own must not be used again.
        let manager_agrees = self.manager_agrees();
        if self.has_left_over() && !self.quiet_down().await {
            return Err(Fault::lost("what the call left running could not be stopped"));
        }
        if self.wire.in_transaction() && !self.wire.is_closed() {
            let rolled_back = if manager_agrees {
                AnsiTransactionManager::rollback_transaction(self).await
            } else {
                self.pg.batch_execute("ROLLBACK").await
            };
            self.told(rolled_back)?;
        }
        self.reset_manager();
        Ok(())
    }

    async fn log_end(&mut self) -> Result<Position, Fault> {
        let end = diesel::select(pg_current_wal_insert_lsn()).get_result::<PgLsn>(&mut self.pg).await;
        let end = self.told(end)?;
        self.at(end)
    }

    async fn visible(&mut self) -> Result<Position, Fault> {
        if !self.is_standby() {
            return self.log_end().await;
        }
        if self.timeline_read_at.elapsed() > TIMELINE_IS_GOOD_FOR {
            self.report().await?;
        }
        let replayed = diesel::select(pg_last_wal_replay_lsn()).get_result::<Option<PgLsn>>(&mut self.pg).await;
        let replayed = self.told(replayed)?;
        self.at(replayed.unwrap_or(PgLsn(0)))
    }

    async fn recover(&mut self) -> bool {
        self.rollback().await.is_ok() && self.health() == Health::Clean
    }

    async fn report(&mut self) -> Result<NodeReport, Fault> {
        let row = diesel::sql_query(probe::SQL).get_result::<probe::Row>(&mut self.pg).await;
        let report = self.told(row)?.report();
        self.timeline = report.timeline;
        self.timeline_read_at = Instant::now();
        Ok(report)
    }

    async fn explain(&mut self, statement: &str, types: &[&'static str], params: u16) -> Result<Option<String>, Fault> {
        self.wire.forget_faults();
        let told = explain(&mut self.pg, statement, types, params).await;
        self.told(told).map(Some)
    }

    async fn explain_with(&mut self, statement: &str, values: &[BoundValue<'_>]) -> Result<Option<String>, Fault> {
        self.wire.forget_faults();
        let told = explain_with(&mut self.pg, statement, values).await;
        self.told(told).map(Some)
    }

    async fn table_marks(&mut self, tables: &[String]) -> Result<Option<Vec<(String, String)>>, Fault> {
        self.wire.forget_faults();
        let told = table_marks(&mut self.pg, tables).await;
        self.told(told).map(Some)
    }

    async fn host(&mut self, query: &str) -> Result<Option<String>, Fault> {
        let told = probe::machine(&mut self.pg, query).await;
        self.told(told)?.map(Some).ok_or_else(|| Fault {
            kind: FaultKind::Application,
            sqlstate: None,
            message: "cluster.host.query gave no row".into(),
        })
    }
}

impl Conn {
    /// Whether a statement is still on its way whose caller went away.
    fn has_left_over(&self) -> bool {
        self.wire.is_busy() || self.counts.differ()
    }

    /// Whether diesel-async's transaction manager is in the outermost transaction, and in the middle of nothing.
    fn manager_agrees(&mut self) -> bool {
        let depth = AnsiTransactionManager::transaction_manager_status_mut(&mut self.pg).transaction_depth();
        !self.has_left_over() && matches!(depth, Ok(Some(depth)) if depth.get() == 1)
    }

    /// No transaction is open: a manager that was stopped in the middle of one may think otherwise.
    fn reset_manager(&mut self) {
        *self.pg.transaction_state() = AnsiTransactionManager::default();
    }

    /// Rolls back to where a nested transaction began that was dropped before its end: half of it must not be committed.
    async fn undo_abandoned(&mut self) -> Result<(), Fault> {
        let depth = AnsiTransactionManager::transaction_manager_status_mut(&mut self.pg).transaction_depth();
        if !matches!(depth, Ok(Some(depth)) if depth.get() > 1) {
            return Ok(());
        }
        if self.has_left_over() && !self.quiet_down().await {
            return Err(Fault::lost("what a dropped nested transaction left running could not be stopped"));
        }
        let undone = self.batch_execute("ROLLBACK TO SAVEPOINT diesel_savepoint_1").await;
        self.told(undone)
    }

    /// Cancels until everything sent is answered and an empty statement sent after the last cancellation has passed: the server
    /// had raised that cancellation by then ([`Canceller::cancel`]), so it can hit nobody else.
    ///
    /// [`Canceller::cancel`]: crate::connect::Canceller::cancel
    async fn quiet_down(&mut self) -> bool {
        let mut cancelled = false;
        let mut patience = GRACE;
        loop {
            let passed = {
                let mut conn = &self.pg;
                let empty = conn.batch_execute("");
                tokio::select! {
                    passed = empty => Some(passed.is_ok()),
                    () = sleep(patience) => None,
                }
            };
            match passed {
                Some(true) => {
                    self.wire.until_idle().await;
                    self.counts.settle();
                    return !self.wire.is_closed();
                }
                // The empty statement itself met the cancellation: the next one proves that it is over.
                Some(false) if cancelled && !self.wire.is_closed() => cancelled = false,
                Some(false) => return false,
                None => {
                    cancelled = self.canceller.cancel().await;
                    if !cancelled {
                        return false;
                    }
                    patience = CANCEL_AGAIN_AFTER;
                }
            }
        }
    }

    fn at(&self, lsn: PgLsn) -> Result<Position, Fault> {
        match self.timeline {
            Some(timeline) => Ok(Position { timeline, lsn: Lsn(lsn.0) }),
            None => Err(Fault {
                kind: FaultKind::Application,
                sqlstate: None,
                message: "the server does not say on which timeline it is".into(),
            }),
        }
    }

    /// diesel's result with the reason that the wire knows.
    fn told<T>(&self, result: QueryResult<T>) -> Result<T, Fault> {
        result.map_err(|error| {
            self.wire.fault().unwrap_or_else(|| Fault {
                kind: if self.wire.is_closed() { FaultKind::ConnectionLost } else { FaultKind::Application },
                sqlstate: None,
                message: error.to_string(),
            })
        })
    }
}

fn rolled_back() -> Fault {
    Fault {
        kind: FaultKind::RolledBack,
        sqlstate: None,
        message: "an earlier statement of the transaction had failed".into(),
    }
}
