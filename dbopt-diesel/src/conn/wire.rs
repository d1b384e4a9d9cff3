//! What is known of a connection from the messages that pass over it.
//!
//! diesel-async keeps SQLSTATEs to itself, ends a load's instrumentation at its first row and tells nothing of a dropped future; the
//! wire has all of it, for every way of running a statement, at the cost of looking at each message's header.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use dbopt_core::backend::{Fault, FaultKind};
use dbopt_core::error::SqlState;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::statement::{End, Statement, StatementWatch};

/// The state of a connection, written by its task and read by whoever holds it.
pub(crate) struct Wire {
    node: Arc<str>,
    /// Messages before this is set belong to start-up.
    active: AtomicBool,
    /// Requests sent that the server has not answered with ReadyForQuery.
    unanswered: AtomicU32,
    /// The last ReadyForQuery: `I`dle, in a `T`ransaction, in a failed (`E`) one.
    transaction: AtomicU8,
    closed: AtomicBool,
    standby: AtomicBool,
    has_fault: AtomicBool,
    fault: Mutex<Option<Fault>>,
    /// Statements that ended since the call began.
    statements: AtomicU64,
    idle: Notify,
    watch: Option<Arc<dyn StatementWatch>>,
    pending: Mutex<Pending>,
}

/// Statements on their way; kept only when somebody watches.
#[derive(Default)]
struct Pending {
    texts: HashMap<Vec<u8>, Arc<str>>,
    bound: Vec<u8>,
    queue: VecDeque<Sent>,
}

struct Sent {
    sql: Arc<str>,
    at: Instant,
    first_row: Option<Instant>,
    rows: u64,
    /// A simple query may hold several statements and ends with ReadyForQuery only.
    simple: bool,
    failed: bool,
}

/// Texts longer than this are cut: a watch wants to know which statement it was, not all of its values lists.
const TEXT_LIMIT: usize = 16 * 1024;

impl Wire {
    pub(crate) fn new(node: Arc<str>, watch: Option<Arc<dyn StatementWatch>>) -> Arc<Self> {
        Arc::new(Wire {
            node,
            active: AtomicBool::new(false),
            unanswered: AtomicU32::new(0),
            transaction: AtomicU8::new(b'I'),
            closed: AtomicBool::new(false),
            standby: AtomicBool::new(false),
            has_fault: AtomicBool::new(false),
            fault: Mutex::new(None),
            statements: AtomicU64::new(0),
            idle: Notify::new(),
            watch,
            pending: Mutex::default(),
        })
    }

    /// Start-up is over: from here on every byte belongs to a message.
    pub(crate) fn start(&self, standby: bool) {
        self.standby.store(standby, Ordering::Relaxed);
        self.active.store(true, Ordering::Release);
    }

    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether a request is still unanswered.
    pub(crate) fn is_busy(&self) -> bool {
        self.unanswered.load(Ordering::Acquire) > 0
    }

    /// Whether a transaction is open on the server.
    pub(crate) fn in_transaction(&self) -> bool {
        self.transaction.load(Ordering::Acquire) != b'I'
    }

    /// Whether the open transaction has failed and can only be rolled back.
    pub(crate) fn transaction_failed(&self) -> bool {
        self.transaction.load(Ordering::Acquire) == b'E'
    }

    /// Whether the server is a standby.
    pub(crate) fn is_standby(&self) -> bool {
        self.standby.load(Ordering::Relaxed)
    }

    /// Statements that have ended.
    pub(crate) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    pub(crate) fn forget_faults(&self) {
        if self.has_fault.swap(false, Ordering::AcqRel) {
            *self.fault.lock() = None;
        }
    }

    /// The worst since [`Wire::forget_faults`].
    pub(crate) fn fault(&self) -> Option<Fault> {
        if !self.has_fault.load(Ordering::Acquire) {
            return None;
        }
        self.fault.lock().clone()
    }

    /// Completes when every request is answered, or the connection ends.
    pub(crate) async fn until_idle(&self) {
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
        if worst.as_ref().is_none_or(|known| fault.kind > known.kind) {
            *worst = Some(fault);
        }
        self.has_fault.store(true, Ordering::Release);
    }

    /// The connection has ended; `why` is the transport's reason, if it gave one.
    pub(crate) fn close(&self, why: Option<&dyn std::fmt::Display>) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let message = match why {
            Some(why) => format!("the connection to {} was lost: {why}", self.node),
            None => format!("the connection to {} was closed by the server", self.node),
        };
        self.note(Fault::lost(message));
        if let Some(watch) = &self.watch {
            let lost: Vec<Sent> = self.pending.lock().queue.drain(..).collect();
            for sent in lost {
                watch.ended(&self.ended(sent, End::Lost));
            }
        }
        self.idle.notify_waiters();
    }

    pub(super) fn wanted_from_server(&self, kind: u8) -> usize {
        match kind {
            b'Z' => 1,
            b'E' => 4096,
            b'C' if self.watch.is_some() => 64,
            b'S' => 64,
            _ => 0,
        }
    }

    pub(super) fn wanted_from_client(&self, kind: u8) -> usize {
        match kind {
            b'P' | b'Q' | b'B' | b'C' if self.watch.is_some() => TEXT_LIMIT,
            _ => 0,
        }
    }

    /// A message of the client.
    pub(super) fn sent(&self, kind: u8, body: &[u8]) {
        match kind {
            b'S' | b'Q' => drop(self.unanswered.fetch_add(1, Ordering::AcqRel)),
            _ => {}
        }
        if self.watch.is_some() {
            self.pending.lock().sent(kind, body);
        }
    }

    /// A message of the server.
    pub(super) fn received(&self, kind: u8, body: &[u8]) {
        match kind {
            b'Z' => self.ready(body),
            b'E' => self.error(body),
            // Copy-in swallows the Sync that was sent along with its Execute: no ReadyForQuery will come for it.
            b'G' => self.answered(),
            b'S' => self.parameter(body),
            b'C' | b'I' | b's' => {
                self.statements.fetch_add(1, Ordering::Relaxed);
                if self.watch.is_some() {
                    self.completed(body);
                }
            }
            b'D' if self.watch.is_some() => self.pending.lock().row(),
            _ => {}
        }
    }

    fn answered(&self) {
        let below = |n: u32| n.checked_sub(1);
        if self.unanswered.fetch_update(Ordering::AcqRel, Ordering::Acquire, below).is_ok() {
            self.idle.notify_waiters();
        }
    }

    fn ready(&self, body: &[u8]) {
        self.transaction.store(body.first().copied().unwrap_or(b'E'), Ordering::Release);
        if self.watch.is_some() {
            self.pending.lock().cycle_over();
        }
        self.answered();
    }

    fn parameter(&self, body: &[u8]) {
        let mut parts = body.split(|&b| b == 0);
        if parts.next() == Some(b"in_hot_standby") {
            self.standby.store(parts.next() == Some(b"on"), Ordering::Relaxed);
        }
    }

    fn error(&self, body: &[u8]) {
        let (mut sqlstate, mut message, mut fatal) = (SqlState(*b"XX000"), String::new(), false);
        for field in body.split(|&b| b == 0) {
            match field.split_first() {
                Some((b'C', code)) => sqlstate = code.try_into().map(SqlState).unwrap_or(sqlstate),
                Some((b'M', text)) => message = String::from_utf8_lossy(text).into_owned(),
                Some((b'V', severity)) => fatal = matches!(severity, b"FATAL" | b"PANIC"),
                _ => {}
            }
        }
        if fatal {
            // The server says goodbye: nobody gets this connection again, even before its socket closes.
            self.closed.store(true, Ordering::Release);
        }
        let kind = match FaultKind::of(sqlstate, self.is_standby()) {
            kind if fatal => kind.max(FaultKind::ConnectionLost),
            kind => kind,
        };
        self.note(Fault {
            kind,
            sqlstate: Some(sqlstate),
            message,
        });
        self.statements.fetch_add(1, Ordering::Relaxed);
        if let Some(watch) = &self.watch {
            let failed = self.pending.lock().failed();
            if let Some(sent) = failed {
                watch.ended(&self.ended(sent, End::Failed { sqlstate }));
            }
        }
    }

    fn completed(&self, tag: &[u8]) {
        let Some(watch) = &self.watch else { return };
        let completed = self.pending.lock().completed();
        if let Some(sent) = completed {
            let tag = String::from_utf8_lossy(tag).trim_end_matches('\0').to_owned();
            watch.ended(&self.ended(sent, End::Completed { tag }));
        }
    }

    fn ended(&self, sent: Sent, end: End) -> Statement {
        Statement {
            node: self.node.clone(),
            sql: sent.sql,
            first_row: sent.first_row.map(|at| at - sent.at),
            total: sent.at.elapsed(),
            rows: sent.rows,
            end,
        }
    }
}

impl Pending {
    fn sent(&mut self, kind: u8, body: &[u8]) {
        let mut strings = body.split(|&b| b == 0);
        let mut next = || strings.next().unwrap_or_default();
        match kind {
            b'P' => {
                let (name, sql) = (next().to_vec(), String::from_utf8_lossy(next()).into());
                self.texts.insert(name, sql);
            }
            b'B' => {
                next();
                self.bound = next().to_vec();
            }
            b'E' => {
                let sql = self.texts.get(&self.bound).cloned().unwrap_or_default();
                self.push(sql, false);
            }
            b'Q' => {
                let sql = String::from_utf8_lossy(next()).into();
                self.push(sql, true);
            }
            // Closing a prepared statement: its text is not needed any more.
            b'C' if body.first() == Some(&b'S') => {
                self.texts.remove(next().get(1..).unwrap_or_default());
            }
            _ => {}
        }
    }

    fn push(&mut self, sql: Arc<str>, simple: bool) {
        self.queue.push_back(Sent {
            sql,
            at: Instant::now(),
            first_row: None,
            rows: 0,
            simple,
            failed: false,
        });
    }

    fn row(&mut self) {
        if let Some(sent) = self.queue.front_mut() {
            sent.first_row.get_or_insert_with(Instant::now);
            sent.rows += 1;
        }
    }

    fn completed(&mut self) -> Option<Sent> {
        match self.queue.front_mut() {
            Some(sent) if sent.simple => {
                let done = Sent {
                    sql: sent.sql.clone(),
                    ..*sent
                };
                (sent.at, sent.first_row, sent.rows) = (Instant::now(), None, 0);
                Some(done)
            }
            _ => self.queue.pop_front(),
        }
    }

    fn failed(&mut self) -> Option<Sent> {
        match self.queue.front_mut() {
            Some(sent) if sent.simple => {
                sent.failed = true;
                Some(Sent {
                    sql: sent.sql.clone(),
                    ..*sent
                })
            }
            _ => self.queue.pop_front(),
        }
    }

    fn cycle_over(&mut self) {
        if self.queue.front().is_some_and(|sent| sent.simple) {
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, severity: &str) -> Vec<u8> {
        format!("S{severity}\0V{severity}\0C{code}\0Msomething happened\0\0").into_bytes()
    }

    fn wire() -> (Arc<Wire>, Arc<Mutex<Vec<Statement>>>) {
        let seen: Arc<Mutex<Vec<Statement>>> = Arc::default();
        let sink = seen.clone();
        let watch: Arc<dyn StatementWatch> = Arc::new(move |s: &Statement| sink.lock().push(s.clone()));
        let wire = Wire::new("n".into(), Some(watch));
        wire.start(false);
        (wire, seen)
    }

    #[test]
    fn busy_until_every_request_is_answered() {
        let (wire, _) = wire();
        wire.sent(b'S', b"");
        wire.sent(b'Q', b"SELECT 1\0");
        wire.received(b'Z', b"I");
        assert!(wire.is_busy());
        wire.received(b'Z', b"T");
        assert!(!wire.is_busy() && wire.in_transaction());
    }

    #[test]
    fn copy_in_answers_two_requests_at_once() {
        let (wire, _) = wire();
        for kind in [b'B', b'E', b'S'] {
            wire.sent(kind, b"\0\0");
        }
        wire.received(b'G', b"");
        wire.sent(b'c', b"");
        wire.sent(b'S', b"");
        wire.received(b'C', b"COPY 3\0");
        wire.received(b'Z', b"I");
        assert!(!wire.is_busy());
    }

    #[test]
    fn the_worst_fault_of_a_call_is_kept_and_forgotten_with_it() {
        let (wire, _) = wire();
        wire.received(b'E', &error("57P01", "FATAL"));
        wire.received(b'E', &error("23505", "ERROR"));
        let fault = wire.fault().unwrap();
        assert_eq!((fault.kind, fault.sqlstate), (FaultKind::ConnectionLost, Some(SqlState(*b"57P01"))));
        assert!(wire.is_closed(), "a session that was ended is given to nobody");
        wire.forget_faults();
        assert_eq!(wire.fault(), None);
    }

    #[test]
    fn a_serialization_failure_on_a_standby_is_a_conflict() {
        let (wire, _) = wire();
        wire.received(b'S', b"in_hot_standby\0on\0");
        wire.received(b'E', &error("40001", "ERROR"));
        assert_eq!(wire.fault().map(|f| f.kind), Some(FaultKind::RecoveryConflict));
    }

    #[test]
    fn pipelined_statements_end_in_order_with_their_own_rows() {
        let (wire, seen) = wire();
        for (name, sql) in [("a", "SELECT a"), ("b", "SELECT b")] {
            wire.sent(b'P', format!("{name}\0{sql}\0\0\0").as_bytes());
        }
        for name in ["a", "b"] {
            wire.sent(b'B', format!("\0{name}\0").as_bytes());
            wire.sent(b'E', b"\0\0\0\0\0");
            wire.sent(b'S', b"");
        }
        wire.received(b'D', b"");
        wire.received(b'D', b"");
        wire.received(b'C', b"SELECT 2\0");
        wire.received(b'Z', b"I");
        wire.received(b'E', &error("22012", "ERROR"));
        wire.received(b'Z', b"I");
        let seen = seen.lock();
        assert_eq!((&*seen[0].sql, seen[0].rows, seen[0].affected()), ("SELECT a", 2, Some(2)));
        assert!(seen[0].first_row.is_some());
        assert_eq!((&*seen[1].sql, &seen[1].end), ("SELECT b", &End::Failed { sqlstate: SqlState(*b"22012") }));
    }

    #[test]
    fn a_script_reports_each_of_its_statements() {
        let (wire, seen) = wire();
        wire.sent(b'Q', b"BEGIN; UPDATE t\0");
        wire.received(b'C', b"BEGIN\0");
        wire.received(b'C', b"UPDATE 3\0");
        wire.received(b'Z', b"T");
        assert_eq!(seen.lock().iter().map(|s| s.affected()).collect::<Vec<_>>(), [None, Some(3)]);
    }

    #[test]
    fn what_was_on_its_way_is_lost_with_the_connection() {
        let (wire, seen) = wire();
        wire.sent(b'Q', b"SELECT pg_sleep(9)\0");
        wire.close(None);
        assert_eq!(seen.lock()[0].end, End::Lost);
        assert_eq!(wire.fault().map(|f| f.kind), Some(FaultKind::ConnectionLost));
    }
}
