//! What is known of a connection from the messages that pass over it.
//!
//! diesel-async keeps SQLSTATEs to itself, ends a load's instrumentation at its first row and tells nothing of a dropped future; the
//! wire has all of it, for every way of running a statement, at the cost of looking at each message's header.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use dbopt_core::backend::{Fault, FaultKind, OnBehalf};
use dbopt_core::error::SqlState;
use dbopt_core::query::{Ended, Insight, Outcome, Place, Times};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::pending::{Moment, Pending, Run};
use super::span::{self, Server};
use crate::statement::{End, Statement, StatementWatch};

/// The state of a connection, written by its task and read by whoever holds it.
pub(crate) struct Wire {
    node: Arc<str>,
    /// Messages before this is set belong to start-up.
    active: AtomicBool,
    /// What the cycle being sent holds so far: [`CLOSES`], [`RUNS`].
    cycle: AtomicU8,
    /// Requests sent that the server has not answered with ReadyForQuery, but for those that only close something.
    unanswered: AtomicU32,
    /// The server is answering a cycle that only closed something.
    closing: AtomicBool,
    /// The last ReadyForQuery: `I`dle, in a `T`ransaction, in a failed (`E`) one.
    transaction: AtomicU8,
    /// Whether the last command of the cycle being answered was a ROLLBACK, whatever the client had asked for.
    tag_is_rollback: AtomicBool,
    /// Whether a transaction ended by a ROLLBACK.
    rolled_back: AtomicBool,
    /// Nobody may get this connection any more.
    closed: AtomicBool,
    /// Its bytes have stopped.
    ended: AtomicBool,
    standby: AtomicBool,
    /// Whether its transactions are read-only unless they say otherwise.
    read_only: AtomicBool,
    /// A statement that was prepared before a change of the schema failed: it would fail again and again.
    outdated: AtomicBool,
    has_fault: AtomicBool,
    fault: Mutex<Option<Fault>>,
    /// Statements that have ended.
    statements: AtomicU64,
    idle: Notify,
    /// Whether anybody has ever waited for the last answer: rare, and telling nobody has its price for each answer.
    is_awaited: AtomicBool,
    watch: Option<Arc<dyn StatementWatch>>,
    insight: Option<(Arc<Insight>, Place)>,
    /// Whether the connection works for a call that belongs to nothing.
    alone: AtomicBool,
    /// Whether it works for a call that is traced.
    traced: AtomicBool,
    /// Whether the session is set up, so that statements are the application's.
    watching: AtomicBool,
    pending: Mutex<Pending>,
}

/// Parts of a cycle: closing a prepared statement runs nothing and needs no waiting for.
const CLOSES: u8 = 1;
const RUNS: u8 = 2;

/// Whether it was set, which it is not any more. For what one task writes at a time: cheaper than an exchange.
fn taken(flag: &AtomicBool) -> bool {
    let was_set = flag.load(Ordering::Relaxed);
    if was_set {
        flag.store(false, Ordering::Relaxed);
    }
    was_set
}

/// Texts longer than this are cut: a watch wants to know which statement it was, not all of its values lists.
pub(super) const TEXT_LIMIT: usize = 16 * 1024;

/// The names at the beginning of a message; what is behind them is nobody's business.
const NAMES_LIMIT: usize = 128;

/// Bound values are hashed up to here: keys come first, and long ones differ early.
const VALUES_LIMIT: usize = 1024;

impl Wire {
    pub(crate) fn new(
        node: Arc<str>,
        watch: Option<Arc<dyn StatementWatch>>,
        insight: Option<(Arc<Insight>, Place)>,
    ) -> Arc<Self> {
        let pending = Pending::new(insight.as_ref().map(|(insight, _)| insight.clone()));
        Arc::new(Wire {
            node,
            active: AtomicBool::new(false),
            cycle: AtomicU8::new(0),
            unanswered: AtomicU32::new(0),
            closing: AtomicBool::new(false),
            transaction: AtomicU8::new(b'I'),
            tag_is_rollback: AtomicBool::new(false),
            rolled_back: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            standby: AtomicBool::new(false),
            read_only: AtomicBool::new(false),
            outdated: AtomicBool::new(false),
            has_fault: AtomicBool::new(false),
            fault: Mutex::new(None),
            statements: AtomicU64::new(0),
            idle: Notify::new(),
            is_awaited: AtomicBool::new(false),
            watch,
            insight,
            alone: AtomicBool::new(false),
            traced: AtomicBool::new(false),
            watching: AtomicBool::new(false),
            pending: Mutex::new(pending),
        })
    }

    /// Start-up is over: from here on every byte belongs to a message.
    pub(crate) fn start(&self, standby: bool, read_only: bool) {
        self.standby.store(standby, Ordering::Relaxed);
        self.read_only.store(read_only, Ordering::Relaxed);
        self.active.store(true, Ordering::Release);
    }

    /// The session is set up: from here on statements are the application's.
    pub(super) fn watch_from_now(&self) {
        self.statements.store(0, Ordering::Relaxed);
        self.watching.store(self.watch.is_some() || self.insight.is_some(), Ordering::Release);
    }

    /// Says for whom the statements are that follow.
    pub(super) fn works_for(&self, on_behalf: OnBehalf<'_>) {
        if let Some((insight, _)) = &self.insight {
            let scope = insight.scope_of(on_behalf.context);
            self.call_over();
            self.alone.store(scope.is_none(), Ordering::Relaxed);
            self.traced.store(on_behalf.span.is_some(), Ordering::Relaxed);
            self.pending.lock().works_for(on_behalf, scope.as_ref());
        }
    }

    /// Says where it leads, for traces.
    pub(crate) fn is_at(&self, host: &str, port: u16) {
        self.pending.lock().is_at(Server { node: self.node.clone(), host: host.into(), port });
    }

    /// The call is over that the connection worked for.
    pub(super) fn call_over(&self) {
        if taken(&self.traced) {
            self.pending.lock().trace_over();
        }
        if taken(&self.alone) {
            self.pending.lock().call_over();
        }
    }

    fn watching(&self) -> bool {
        self.watching.load(Ordering::Acquire)
    }

    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether what it has prepared does not fit the schema any more.
    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }

    /// Whether a request is still unanswered.
    pub(crate) fn is_busy(&self) -> bool {
        self.unanswered.load(Ordering::SeqCst) > 0
    }

    /// Whether a transaction is open on the server.
    pub(crate) fn in_transaction(&self) -> bool {
        self.transaction.load(Ordering::Acquire) != b'I'
    }

    /// Whether the open transaction has failed and can only be rolled back.
    pub(crate) fn transaction_failed(&self) -> bool {
        self.transaction.load(Ordering::Acquire) == b'E'
    }

    /// Forgets how the last transaction ended.
    pub(super) fn forget_rollback(&self) {
        self.rolled_back.store(false, Ordering::Release);
    }

    /// Whether a transaction has ended by a ROLLBACK since [`Wire::forget_rollback`]: a COMMIT behind a failed statement is answered so, without any error.
    pub(super) fn rolled_back(&self) -> bool {
        self.rolled_back.load(Ordering::Acquire)
    }

    /// Whether the server is a standby.
    pub(crate) fn is_standby(&self) -> bool {
        self.standby.load(Ordering::Relaxed)
    }

    /// Whether its transactions are read-only unless they say otherwise; as of what the server answered last (PostgreSQL 14 and later tell).
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Statements that have ended.
    pub(crate) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    pub(crate) fn forget_faults(&self) {
        if self.has_fault.load(Ordering::Acquire) && self.has_fault.swap(false, Ordering::AcqRel) {
            *self.fault.lock() = None;
        }
    }

    /// The worst since [`Wire::forget_faults`]; of equals the latest, but the first reason for a loss.
    pub(crate) fn fault(&self) -> Option<Fault> {
        if !self.has_fault.load(Ordering::Acquire) {
            return None;
        }
        self.fault.lock().clone()
    }

    /// Completes when every request is answered, or the connection ends.
    pub(crate) async fn until_idle(&self) {
        // Either this sees the last answer, or the last answer sees that somebody waits for it: they are in one order for all.
        self.is_awaited.store(true, Ordering::SeqCst);
        loop {
            let changed = self.idle.notified();
            if !self.is_busy() || self.is_closed() {
                return;
            }
            changed.await;
        }
    }

    fn note(&self, fault: Fault) {
        let mut worst = self.fault.lock();
        let worse = |known: &Fault| {
            fault.kind > known.kind || fault.kind == known.kind && fault.kind != FaultKind::ConnectionLost
        };
        if worst.as_ref().is_none_or(worse) {
            *worst = Some(fault);
        }
        self.has_fault.store(true, Ordering::Release);
    }

    /// Nobody gets this connection again.
    fn condemn(&self) {
        self.closed.store(true, Ordering::Release);
        self.idle.notify_waiters();
    }

    /// The connection has ended; `why` is the transport's reason, if it gave one.
    pub(crate) fn close(&self, why: Option<&dyn std::fmt::Display>) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let message = match why {
            Some(why) => format!("the connection to {} was lost: {why}", self.node),
            None => format!("the connection to {} was closed by the server", self.node),
        };
        self.note(Fault::lost(message));
        if self.watching() {
            let lost = self.pending.lock().lost();
            let mut now = Moment::default();
            for run in lost {
                self.ended(run, &mut now, |_| End::Lost);
            }
        }
        self.condemn();
    }

    pub(super) fn wanted_from_server(&self, kind: u8) -> usize {
        match kind {
            b'Z' => 1,
            b'E' => 4096,
            b'C' | b'S' => 64,
            b't' if self.insight.is_some() => 512,
            _ => 0,
        }
    }

    pub(super) fn wanted_from_client(&self, kind: u8) -> usize {
        match kind {
            b'P' | b'Q' if self.watching() => TEXT_LIMIT,
            b'B' if self.insight.is_some() && self.watching() => VALUES_LIMIT,
            b'B' | b'C' if self.watching() => NAMES_LIMIT,
            _ => 0,
        }
    }

    /// A message of the client.
    pub(super) fn sent(&self, kind: u8, body: &[u8]) {
        let part = match kind {
            b'C' => CLOSES,
            b'P' | b'B' | b'D' | b'E' => RUNS,
            _ => 0,
        };
        if part != 0 {
            self.cycle.store(self.cycle.load(Ordering::Relaxed) | part, Ordering::Relaxed);
        }
        let asks = match kind {
            b'S' => {
                let cycle = self.cycle.load(Ordering::Relaxed);
                self.cycle.store(0, Ordering::Relaxed);
                cycle != CLOSES
            }
            kind => kind == b'Q',
        };
        if asks {
            self.unanswered.fetch_add(1, Ordering::SeqCst);
        }
        if self.watching() {
            let mut pending = self.pending.lock();
            match kind {
                b'S' if asks => pending.sync(),
                _ => pending.sent(kind, body),
            }
        }
    }

    /// A message of the server, with those that came together with it.
    pub(super) fn received(&self, kind: u8, body: &[u8], now: &mut Moment) {
        match kind {
            b'Z' if taken(&self.closing) => {}
            b'Z' => self.ready(body),
            b'3' => self.closing.store(true, Ordering::Relaxed),
            b'E' => self.error(body, now),
            // diesel-async cannot send the data: the server waits for it and takes nothing else.
            b'G' => self.condemn(),
            b'S' => self.parameter(body),
            b'C' | b's' => self.completed(body, now),
            // An empty statement is none.
            b'I' if self.watching() => drop(self.pending.lock().completed()),
            b'1' if self.watching() => self.pending.lock().parsed(),
            b'D' if self.watching() => self.pending.lock().row(now),
            b't' if self.watching() => self.pending.lock().has_types(body),
            _ => {}
        }
    }

    fn ready(&self, body: &[u8]) {
        let now = body.first().copied().unwrap_or(b'E');
        let before = self.transaction.load(Ordering::Relaxed);
        self.transaction.store(now, Ordering::Release);
        let rollback = taken(&self.tag_is_rollback);
        if before != b'I' && now == b'I' {
            self.rolled_back.store(rollback, Ordering::Release);
        }
        if self.watching() {
            self.pending.lock().cycle_over();
        }
        // Nobody else takes away from it.
        if self.is_busy() {
            self.unanswered.fetch_sub(1, Ordering::SeqCst);
            if self.is_awaited.load(Ordering::SeqCst) {
                self.idle.notify_waiters();
            }
        }
    }

    fn parameter(&self, body: &[u8]) {
        let mut parts = body.split(|&b| b == 0);
        let known = match parts.next() {
            Some(b"in_hot_standby") => &self.standby,
            Some(b"default_transaction_read_only") => &self.read_only,
            _ => return,
        };
        known.store(parts.next() == Some(b"on"), Ordering::Relaxed);
    }

    fn error(&self, body: &[u8], now: &mut Moment) {
        let (mut sqlstate, mut message, mut fatal) = (SqlState(*b"XX000"), String::new(), false);
        for field in body.split(|&b| b == 0) {
            match field.split_first() {
                Some((b'C', code)) => sqlstate = code.try_into().map(SqlState).unwrap_or(sqlstate),
                Some((b'M', text)) => message = String::from_utf8_lossy(text).into_owned(),
                Some((b'V', severity)) => fatal = matches!(severity, b"FATAL" | b"PANIC"),
                // "cached plan must not change result type", in whatever language; its SQLSTATE (0A000) means other things, too.
                Some((b'R', b"RevalidateCachedQuery")) => self.outdated.store(true, Ordering::Release),
                _ => {}
            }
        }
        let kind = match FaultKind::of(sqlstate, self.is_standby()) {
            kind if fatal => kind.max(FaultKind::ConnectionLost),
            kind => kind,
        };
        self.note(Fault { kind, sqlstate: Some(sqlstate), message });
        self.statements.fetch_add(1, Ordering::Relaxed);
        if self.watching() {
            let failed = self.pending.lock().failed();
            if let Some(run) = failed {
                self.ended(run, now, |_| End::Failed { sqlstate });
            }
        }
        if fatal {
            // The server says goodbye: nobody gets this connection again, even before its socket closes.
            self.condemn();
        }
    }

    fn completed(&self, tag: &[u8], now: &mut Moment) {
        self.statements.fetch_add(1, Ordering::Relaxed);
        self.tag_is_rollback.store(tag.starts_with(b"ROLLBACK\0"), Ordering::Relaxed);
        if self.watching() {
            let completed = self.pending.lock().completed();
            if let Some(run) = completed {
                self.ended(run, now, |told| match told {
                    // Only a watch reads the tag.
                    true => End::Completed { tag: String::from_utf8_lossy(tag).trim_end_matches('\0').to_owned() },
                    false => End::Completed { tag: String::new() },
                });
            }
        }
    }

    /// Tells who wants to know; `end` is asked for with whether a watch is told.
    fn ended(&self, run: Run, now: &mut Moment, end: impl FnOnce(bool) -> End) {
        let (first_row, total) = (run.first_row(), run.total(now.get()));
        let end = end(self.watch.is_some());
        if let Some(span) = &run.span {
            span::end(span, run.rows, &end);
        }
        if let (Some((insight, place)), Some(known)) = (&self.insight, run.known()) {
            let times = Times { waited: run.on_behalf.waited, first_row, total };
            let (outcome, sqlstate) = match end {
                End::Completed { .. } => (Outcome::Completed, None),
                End::Failed { sqlstate } if &sqlstate.0 == b"57014" => (Outcome::Cancelled, Some(sqlstate)),
                End::Failed { sqlstate } => (Outcome::Failed, Some(sqlstate)),
                End::Lost => (Outcome::Lost, None),
            };
            let (op, scope) = (run.on_behalf.op, &run.on_behalf.scope);
            let (identity, rows) = (run.identity, run.rows);
            let ended = Ended { known, place, op, scope, identity, times, rows, outcome, sqlstate };
            insight.ended(&ended, || run.sent(|| self.pending.lock().values_of(&run)));
        }
        if let Some(watch) = &self.watch {
            let sql = run.sql().clone();
            watch.ended(&Statement { node: self.node.clone(), sql, first_row, total, rows: run.rows, end });
        }
    }
}

#[cfg(test)]
mod tests;
