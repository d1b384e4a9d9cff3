//! Statements on their way, in the order in which the server answers them. Pure but for the clock.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dbopt_core::op::Op;
use dbopt_core::query::{Insight, Known, Scope, Sent as SentRun};
use foldhash::fast::RandomState;
use tokio::time::Instant;
use tracing::Span;

use super::span::{self, Server};
use super::wire::TEXT_LIMIT;

/// What was sent and is not answered yet; kept only when somebody watches.
#[derive(Default)]
pub(super) struct Pending {
    insight: Option<Arc<Insight>>,
    /// Whether anybody will want to know what was bound, and whether that may be shown.
    wants_values: bool,
    shows_values: bool,
    /// What is prepared, by its name.
    texts: HashMap<Vec<u8>, Arc<Text>, RandomState>,
    bound: Bound,
    /// The statement whose types the server is about to tell.
    described: Option<Arc<Text>>,
    /// For whom the statements are that are sent now.
    on_behalf: OnBehalf,
    /// Where they are sent.
    server: Server,
    /// For calls that belong to nothing, each alone.
    own_scope: Option<Arc<Scope>>,
    queue: VecDeque<Sent>,
    /// The statement that was completed last in the cycle being answered: its implicit commit may still fail.
    completed: Option<Arc<Text>>,
}

/// A text, and what insight knows of it. Each connection has its own: what is known is shared by all threads, and holding it once more
/// for every run would make them wait for each other.
#[derive(Default)]
pub(super) struct Text {
    sql: Arc<str>,
    known: Option<Known>,
}

/// What was bound last.
#[derive(Default)]
struct Bound {
    /// What is run: a portal that gives its rows in parts is run several times.
    text: Option<Arc<Text>>,
    identity: u64,
    /// Tells this Bind from those before and behind it.
    number: u32,
    /// Its values, for a run that turns out to be slow: until all is answered, or the next Bind.
    values: Vec<u8>,
}

/// For whom statements run.
#[derive(Clone, Default)]
pub(super) struct OnBehalf {
    pub(super) op: Option<&'static Op>,
    pub(super) scope: Weak<Scope>,
    /// What its call has waited; of the first statement only.
    pub(super) waited: Duration,
    /// The call, where it is traced.
    span: Option<Arc<Span>>,
}

enum Sent {
    Parse {
        name: Vec<u8>,
        run: Run,
    },
    Execute(Run),
    /// A simple query may hold several statements and ends with ReadyForQuery only.
    Simple(Run),
    Sync,
}

/// When bytes arrived: asked for at most once for all of them, as a clock costs more than most of what is done with a message.
#[derive(Default)]
pub(super) struct Moment(Option<Instant>);

impl Moment {
    pub(super) fn get(&mut self) -> Instant {
        *self.0.get_or_insert_with(Instant::now)
    }
}

/// One statement from its start, as far as it got.
#[derive(Clone)]
pub(super) struct Run {
    text: Arc<Text>,
    pub(super) on_behalf: OnBehalf,
    pub(super) identity: u64,
    /// The number of its Bind.
    bind: u32,
    /// What was bound, where that may be shown.
    values: Option<Box<[u8]>>,
    at: Instant,
    first_row_at: Option<Instant>,
    pub(super) rows: u64,
    /// Where it is traced.
    pub(super) span: Option<Box<Span>>,
}

impl Run {
    fn new(text: Arc<Text>, on_behalf: OnBehalf) -> Self {
        let at = Instant::now();
        Run { text, on_behalf, identity: 0, bind: 0, values: None, at, first_row_at: None, rows: 0, span: None }
    }

    /// Becomes a part of its call's trace.
    fn trace(&mut self, server: &Server) {
        if let Some(call) = &self.on_behalf.span {
            self.span = Some(Box::new(span::begin(call, self.on_behalf.op, &self.text.sql, server)));
        }
    }

    pub(super) fn sql(&self) -> &Arc<str> {
        &self.text.sql
    }

    pub(super) fn known(&self) -> Option<&Known> {
        self.text.known.as_ref()
    }

    pub(super) fn first_row(&self) -> Option<Duration> {
        self.first_row_at.map(|at| at - self.at)
    }

    /// From when it was sent until `now`.
    pub(super) fn total(&self, now: Instant) -> Duration {
        now - self.at
    }

    /// The same as it was sent; `binds` is what [`Pending::values_of`] knows of it.
    pub(super) fn sent(&self, binds: impl FnOnce() -> Option<Box<[u8]>>) -> Option<SentRun> {
        let binds = self.values.clone().or_else(binds)?;
        Some(SentRun { sql: self.text.sql.clone(), binds })
    }

    /// Leaves the next statement of the same script in its place.
    fn next_of_script(&mut self) -> Run {
        let mut next = Run::new(self.text.clone(), self.on_behalf.clone());
        next.on_behalf.waited = Duration::ZERO;
        next.identity = self.identity;
        std::mem::replace(self, next)
    }
}

impl Pending {
    pub(super) fn new(insight: Option<Arc<Insight>>) -> Self {
        let own_scope = insight.as_ref().map(Insight::own_scope);
        let wants_values = insight.as_ref().is_some_and(|insight| insight.wants_values());
        let shows_values = insight.as_ref().is_some_and(|insight| insight.config().values);
        Pending { insight, own_scope, wants_values, shows_values, ..Pending::default() }
    }

    /// From here on statements are for another call. `None`: for one that belongs to nothing.
    pub(super) fn works_for(&mut self, call: dbopt_core::backend::OnBehalf<'_>, scope: Option<&Arc<Scope>>) {
        let scope = scope.or(self.own_scope.as_ref()).map(Arc::downgrade).unwrap_or_default();
        self.on_behalf =
            OnBehalf { op: Some(call.op), scope, waited: call.waited, span: call.span.cloned().map(Arc::new) };
    }

    /// Where the statements are sent, for traces.
    pub(super) fn is_at(&mut self, server: Server) {
        self.server = server;
    }

    /// What is sent from now on is no part of the call's trace, which ends when nobody holds it.
    pub(super) fn trace_over(&mut self) {
        self.on_behalf.span = None;
    }

    /// A call alone has ended: what it repeated can be told.
    pub(super) fn call_over(&self) {
        if let Some(own) = &self.own_scope {
            own.close();
        }
    }

    /// For whom the next statement is.
    fn behalf(&mut self) -> OnBehalf {
        let now = self.on_behalf.clone();
        self.on_behalf.waited = Duration::ZERO;
        now
    }

    fn text(&self, bytes: &[u8], limit: usize) -> Arc<Text> {
        let sql = String::from_utf8_lossy(bytes);
        let known = self.insight.as_ref().map(|insight| insight.recognise(&sql, bytes.len() >= limit));
        Arc::new(Text { sql: sql.into(), known })
    }

    /// A message of the client; its Sync is told by [`Pending::sync`].
    pub(super) fn sent(&mut self, kind: u8, body: &[u8]) {
        let mut strings = body.split(|&b| b == 0);
        let mut next = || strings.next().unwrap_or_default();
        match kind {
            b'P' => {
                let name = next().to_vec();
                let text = self.text(next(), TEXT_LIMIT.saturating_sub(name.len() + 1));
                self.texts.insert(name.clone(), text.clone());
                // Its call has not waited for this one if it waits for what follows.
                let on_behalf = OnBehalf { waited: Duration::ZERO, ..self.on_behalf.clone() };
                self.queue.push_back(Sent::Parse { name, run: Run::new(text, on_behalf) });
            }
            b'B' => self.binds(body),
            b'E' => {
                let text = self.bound.text.clone().unwrap_or_else(|| self.unseen());
                let mut run = Run::new(text, self.behalf());
                run.trace(&self.server);
                (run.identity, run.bind) = (self.bound.identity, self.bound.number);
                if self.shows_values {
                    run.values = Some(self.bound.values.as_slice().into());
                }
                self.queue.push_back(Sent::Execute(run));
            }
            b'Q' => {
                let text = self.text(next(), TEXT_LIMIT);
                let mut run = Run::new(text, self.behalf());
                run.trace(&self.server);
                run.identity = run.known().map_or(0, |known| known.identity(&[]));
                self.queue.push_back(Sent::Simple(run));
            }
            // Closing a prepared statement: its text is not needed any more.
            b'C' if body.first() == Some(&b'S') => {
                self.texts.remove(next().get(1..).unwrap_or_default());
            }
            _ => {}
        }
    }

    /// A Bind message: which statement, and which rows it means.
    fn binds(&mut self, body: &[u8]) {
        let end = |from: usize| body.get(from..).and_then(|rest| rest.iter().position(|&b| b == 0)).map(|at| from + at);
        let Some((portal, name)) = end(0).and_then(|portal| Some((portal, end(portal + 1)?))) else {
            self.bound.text = None;
            return;
        };
        let values = &body[name + 1..];
        self.bound.text = self.texts.get(&body[portal + 1..name]).cloned();
        let known = self.bound.text.as_ref().and_then(|text| text.known.as_ref());
        self.bound.identity = known.map_or(0, |known| known.identity(values));
        self.bound.number = self.bound.number.wrapping_add(1);
        self.bound.values.clear();
        if self.wants_values {
            self.bound.values.extend_from_slice(values);
        }
    }

    /// What was bound for a run, if nothing was bound since.
    pub(super) fn values_of(&self, run: &Run) -> Option<Box<[u8]>> {
        let same = self.bound.number == run.bind && !self.bound.values.is_empty();
        same.then(|| self.bound.values.as_slice().into())
    }

    /// What a statement is whose preparation was not seen.
    fn unseen(&self) -> Arc<Text> {
        Arc::new(Text { sql: Arc::default(), known: self.insight.as_ref().map(|insight| insight.unseen()) })
    }

    /// The server tells the types of a statement's placeholders.
    pub(super) fn has_types(&mut self, body: &[u8]) {
        let Some(described) = self.described.take() else { return };
        let types = || {
            let numbers = body.get(2..).unwrap_or_default().chunks_exact(4);
            numbers.map(|number| u32::from_be_bytes([number[0], number[1], number[2], number[3]])).collect()
        };
        if let Some(known) = &described.known {
            known.has_types(types);
        }
    }

    /// The client ended a cycle that the server will answer with ReadyForQuery.
    pub(super) fn sync(&mut self) {
        self.queue.push_back(Sent::Sync);
    }

    pub(super) fn parsed(&mut self) {
        if let Some(Sent::Parse { run, .. }) = self.queue.front() {
            self.described = Some(run.text.clone());
            self.queue.pop_front();
        }
    }

    /// The server sent a row of a statement.
    pub(super) fn row(&mut self, now: &mut Moment) {
        if let Some(Sent::Execute(run) | Sent::Simple(run)) = self.queue.front_mut() {
            run.first_row_at.get_or_insert_with(|| now.get());
            run.rows += 1;
        }
    }

    /// The server completed a statement.
    pub(super) fn completed(&mut self) -> Option<Run> {
        match self.queue.pop_front()? {
            Sent::Execute(run) => {
                self.completed = Some(run.text.clone());
                Some(run)
            }
            Sent::Simple(mut run) => {
                let done = run.next_of_script();
                self.queue.push_front(Sent::Simple(run));
                Some(done)
            }
            other => {
                self.queue.push_front(other);
                None
            }
        }
    }

    /// The server answered with an error: the statement that it belongs to.
    pub(super) fn failed(&mut self) -> Option<Run> {
        match self.queue.pop_front()? {
            Sent::Execute(run) => Some(run),
            Sent::Parse { name, run } => {
                self.texts.remove(&name);
                Some(run)
            }
            Sent::Simple(mut run) => {
                let failed = run.next_of_script();
                self.queue.push_front(Sent::Simple(run));
                Some(failed)
            }
            // What was completed could not be committed: a deferred constraint, for example.
            Sent::Sync => {
                self.queue.push_front(Sent::Sync);
                self.completed.take().map(|text| Run::new(text, self.on_behalf.clone()))
            }
        }
    }

    /// The server is ready for the next cycle: what it skipped after an error is over too.
    pub(super) fn cycle_over(&mut self) {
        self.completed = None;
        while let Some(sent) = self.queue.pop_front() {
            match sent {
                Sent::Sync | Sent::Simple(_) => break,
                Sent::Parse { name, .. } => drop(self.texts.remove(&name)),
                Sent::Execute(_) => {}
            }
        }
        if self.queue.is_empty() {
            // From its beginning again, which is in the processor's caches still.
            self.queue.clear();
            self.bound.values.clear();
        }
    }

    /// The connection has ended: everything that was on its way.
    pub(super) fn lost(&mut self) -> Vec<Run> {
        let lost = self.queue.drain(..).filter_map(|sent| match sent {
            Sent::Parse { run, .. } | Sent::Execute(run) | Sent::Simple(run) => Some(run),
            Sent::Sync => None,
        });
        lost.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dbopt_core::query::Config;

    fn bind(name: &str, value: &[u8]) -> Vec<u8> {
        let mut body = format!("\0{name}\0").into_bytes();
        body.extend([0, 1, 0, 1, 0, 1]);
        body.extend((value.len() as i32).to_be_bytes());
        body.extend(value);
        body.extend([0, 0]);
        body
    }

    fn pending(config: Config) -> Pending {
        let mut pending = Pending::new(Some(Insight::new(config)));
        pending.sent(b'P', b"s\0SELECT a FROM t WHERE b = $1\0\0\0");
        pending.parsed();
        pending
    }

    fn run(pending: &mut Pending, value: &[u8]) {
        pending.sent(b'B', &bind("s", value));
        pending.sent(b'E', b"\0\0\0\0\0");
        pending.sync();
    }

    fn holds(pending: &Pending, run: &Run, value: &[u8]) -> bool {
        let sent = run.sent(|| pending.values_of(run));
        sent.is_some_and(|sent| {
            &*sent.sql == "SELECT a FROM t WHERE b = $1" && sent.binds.windows(value.len()).any(|part| part == value)
        })
    }

    #[test]
    fn what_was_bound_is_held_until_it_is_answered_and_no_longer() {
        let mut pending = pending(Config::default());
        run(&mut pending, b"one");
        let ended = pending.completed().unwrap();
        assert!(holds(&pending, &ended, b"one"));
        pending.cycle_over();
        assert!(!holds(&pending, &ended, b"one"));
    }

    #[test]
    fn of_pipelined_runs_none_has_the_values_of_another() {
        let mut pending = pending(Config::default());
        run(&mut pending, b"one");
        run(&mut pending, b"two");
        let ended = pending.completed().unwrap();
        assert!(!holds(&pending, &ended, b"one") && !holds(&pending, &ended, b"two"));
        pending.cycle_over();
        let ended = pending.completed().unwrap();
        assert!(holds(&pending, &ended, b"two") && !holds(&pending, &ended, b"one"));
    }

    #[test]
    fn values_that_may_be_shown_are_held_for_each_run_and_others_only_where_somebody_asks() {
        let mut shown = pending(Config { values: true, ..Config::default() });
        run(&mut shown, b"one");
        run(&mut shown, b"two");
        let ended = shown.completed().unwrap();
        assert!(holds(&shown, &ended, b"one"));
        let mut nobody = pending(Config { plans: false, ..Config::default() });
        run(&mut nobody, b"one");
        let ended = nobody.completed().unwrap();
        assert!(!holds(&nobody, &ended, b"one") && nobody.bound.values.capacity() == 0);
    }

    #[test]
    fn a_run_of_what_was_prepared_unseen_is_known_as_such() {
        let mut pending = pending(Config::default());
        pending.sent(b'B', &bind("another", b"one"));
        pending.sent(b'E', b"\0\0\0\0\0");
        let ended = pending.completed().unwrap();
        assert_eq!(ended.known().unwrap().fingerprint().text().as_ref(), "(unknown)");
    }
}
