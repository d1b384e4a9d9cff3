//! Statements on their way, in the order in which the server answers them. Pure but for the clock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// What was sent and is not answered yet; kept only when somebody watches.
#[derive(Default)]
pub(super) struct Pending {
    texts: HashMap<Vec<u8>, Arc<str>>,
    bound: Vec<u8>,
    queue: VecDeque<Sent>,
    /// The statement that was completed last in the cycle being answered: its implicit commit may still fail.
    completed: Option<Arc<str>>,
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

/// One statement from its start, as far as it got.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) sql: Arc<str>,
    at: Instant,
    first_row_at: Option<Instant>,
    pub(super) rows: u64,
}

impl Run {
    fn new(sql: Arc<str>) -> Self {
        Run { sql, at: Instant::now(), first_row_at: None, rows: 0 }
    }

    pub(super) fn first_row(&self) -> Option<Duration> {
        self.first_row_at.map(|at| at - self.at)
    }

    pub(super) fn total(&self) -> Duration {
        self.at.elapsed()
    }

    /// Leaves the next statement of the same script in its place.
    fn next_of_script(&mut self) -> Run {
        let next = Run::new(self.sql.clone());
        std::mem::replace(self, next)
    }
}

fn text(bytes: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(bytes).into()
}

impl Pending {
    /// A message of the client; its Sync is told by [`Pending::sync`].
    pub(super) fn sent(&mut self, kind: u8, body: &[u8]) {
        let mut strings = body.split(|&b| b == 0);
        let mut next = || strings.next().unwrap_or_default();
        match kind {
            b'P' => {
                let (name, sql) = (next().to_vec(), text(next()));
                self.texts.insert(name.clone(), sql.clone());
                self.queue.push_back(Sent::Parse { name, run: Run::new(sql) });
            }
            b'B' => {
                next();
                self.bound = next().to_vec();
            }
            b'E' => {
                let sql = self.texts.get(&self.bound).cloned().unwrap_or_default();
                self.queue.push_back(Sent::Execute(Run::new(sql)));
            }
            b'Q' => self.queue.push_back(Sent::Simple(Run::new(text(next())))),
            // Closing a prepared statement: its text is not needed any more.
            b'C' if body.first() == Some(&b'S') => {
                self.texts.remove(next().get(1..).unwrap_or_default());
            }
            _ => {}
        }
    }

    /// The client ended a cycle that the server will answer with ReadyForQuery.
    pub(super) fn sync(&mut self) {
        self.queue.push_back(Sent::Sync);
    }

    pub(super) fn parsed(&mut self) {
        if matches!(self.queue.front(), Some(Sent::Parse { .. })) {
            self.queue.pop_front();
        }
    }

    pub(super) fn row(&mut self) {
        if let Some(Sent::Execute(run) | Sent::Simple(run)) = self.queue.front_mut() {
            run.first_row_at.get_or_insert_with(Instant::now);
            run.rows += 1;
        }
    }

    /// The server completed a statement.
    pub(super) fn completed(&mut self) -> Option<Run> {
        match self.queue.pop_front()? {
            Sent::Execute(run) => {
                self.completed = Some(run.sql.clone());
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
                self.completed.take().map(Run::new)
            }
        }
    }

    /// The server is ready for the next cycle: what it skipped after an error is over too.
    pub(super) fn cycle_over(&mut self) {
        self.completed = None;
        while let Some(sent) = self.queue.pop_front() {
            match sent {
                Sent::Sync | Sent::Simple(_) => return,
                Sent::Parse { name, .. } => drop(self.texts.remove(&name)),
                Sent::Execute(_) => {}
            }
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
