//! What a method is: its name, its intent and the wishes its attributes state.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Whether a call only looks or also changes data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Looks only: may run on a replica, and again on another node when its first one dies.
    Read,
    /// Changes data: runs on the primary, once.
    Write,
}

/// The kind of connection a call uses; each lane of a node is a pool of its own (R3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Read-only sessions, one pool on every node.
    Read,
    /// Read-write sessions on the primary.
    Write,
    /// Reserved read-write sessions on the primary for calls marked critical (R3.3).
    Critical,
}

impl Lane {
    /// All lanes, in the order of [`Lane::index`].
    pub const ALL: [Lane; 3] = [Lane::Read, Lane::Write, Lane::Critical];

    /// The lane's name as it appears in metrics, logs and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Lane::Read => "read",
            Lane::Write => "write",
            Lane::Critical => "critical",
        }
    }

    /// The lane's place in arrays that hold one item per lane.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where in the source a method stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The module path.
    pub module: &'static str,
    /// The file.
    pub file: &'static str,
    /// The line.
    pub line: u32,
}

/// The static description of one annotated method; the macros write one per method.
///
/// ```
/// use dbopt_core::op::{Intent, Op};
/// use std::time::Duration;
///
/// static BOARD: Op = Op::new("Flights::board", Intent::Read).max_staleness(Duration::from_secs(2));
/// assert_eq!(BOARD.name(), "Flights::board");
/// ```
pub struct Op {
    name: &'static str,
    intent: Intent,
    critical: bool,
    max_staleness: Option<Duration>,
    from_primary: bool,
    idempotent: bool,
    transaction: bool,
    max_concurrent: Option<NonZeroU32>,
    hedge: Option<Duration>,
    location: Option<Location>,
    id: OnceLock<usize>,
}

static NEXT_ID: AtomicUsize = AtomicUsize::new(0);

impl Op {
    /// A method called `name`, for example `Flights::find`.
    pub const fn new(name: &'static str, intent: Intent) -> Self {
        Op {
            name,
            intent,
            critical: false,
            max_staleness: None,
            from_primary: false,
            idempotent: false,
            transaction: true,
            max_concurrent: None,
            hedge: None,
            location: None,
            id: OnceLock::new(),
        }
    }

    /// Uses the reserved connections of the primary.
    pub const fn critical(mut self) -> Self {
        self.critical = true;
        self
    }

    /// Skips replicas that are further behind than `limit`.
    pub const fn max_staleness(mut self, limit: Duration) -> Self {
        self.max_staleness = Some(limit);
        self
    }

    /// Reads from the primary only.
    pub const fn from_primary(mut self) -> Self {
        self.from_primary = true;
        self
    }

    /// States that the write may be run twice without harm.
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Runs the write's statements one by one, each committed by itself.
    pub const fn without_transaction(mut self) -> Self {
        self.transaction = false;
        self
    }

    /// Runs at most so many calls of the method at once in a process; others wait. 0: as many as there are connections.
    pub const fn max_concurrent(mut self, calls: u32) -> Self {
        self.max_concurrent = NonZeroU32::new(calls);
        self
    }

    /// Asks a second replica too when the first has not answered for so long. Zero: never.
    pub const fn hedge(mut self, after: Duration) -> Self {
        self.hedge = if after.is_zero() { None } else { Some(after) };
        self
    }

    /// Records where the method stands.
    pub const fn at(mut self, module: &'static str, file: &'static str, line: u32) -> Self {
        self.location = Some(Location { module, file, line });
        self
    }

    /// The method's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it reads or writes.
    pub const fn intent(&self) -> Intent {
        self.intent
    }

    /// Whether it uses the reserved connections.
    pub const fn is_critical(&self) -> bool {
        self.critical
    }

    /// How far behind a replica may be for this method, if it says so.
    pub const fn staleness_limit(&self) -> Option<Duration> {
        self.max_staleness
    }

    /// Whether a read insists on the primary.
    pub const fn wants_primary(&self) -> bool {
        self.from_primary
    }

    /// Whether the body may be run a second time: every read, and a write that says so.
    pub const fn may_run_again(&self) -> bool {
        matches!(self.intent, Intent::Read) || self.idempotent
    }

    /// Whether the runtime opens a transaction around the body.
    pub const fn in_transaction(&self) -> bool {
        matches!(self.intent, Intent::Write) && self.transaction
    }

    /// How many calls of it may run at once in a process, if it says so.
    pub const fn concurrency_limit(&self) -> Option<u32> {
        match self.max_concurrent {
            Some(calls) => Some(calls.get()),
            None => None,
        }
    }

    /// After which time without an answer a second replica is asked too, if the method says so.
    pub const fn hedged_after(&self) -> Option<Duration> {
        self.hedge
    }

    /// The lane whose connections it uses.
    pub const fn lane(&self) -> Lane {
        match (self.critical, self.intent) {
            (true, _) => Lane::Critical,
            (false, Intent::Read) => Lane::Read,
            (false, Intent::Write) => Lane::Write,
        }
    }

    /// Where the method stands, if known.
    pub const fn location(&self) -> Option<Location> {
        self.location
    }

    /// A small number of this method's own, the same for the life of the process.
    pub fn id(&self) -> usize {
        *self.id.get_or_init(|| NEXT_ID.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Op")
            .field("name", &self.name)
            .field("intent", &self.intent)
            .field("lane", &self.lane())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lane_follows_intent_and_critical() {
        assert_eq!(Op::new("a", Intent::Read).lane(), Lane::Read);
        assert_eq!(Op::new("a", Intent::Write).lane(), Lane::Write);
        assert_eq!(Op::new("a", Intent::Write).critical().lane(), Lane::Critical);
        assert_eq!(Op::new("a", Intent::Read).critical().lane(), Lane::Critical);
    }

    #[test]
    fn only_reads_and_idempotent_writes_run_again() {
        assert!(Op::new("a", Intent::Read).may_run_again());
        assert!(!Op::new("a", Intent::Write).may_run_again());
        assert!(Op::new("a", Intent::Write).idempotent().may_run_again());
    }

    #[test]
    fn ids_are_stable_and_distinct() {
        let (a, b) = (Op::new("a", Intent::Read), Op::new("b", Intent::Read));
        assert_eq!(a.id(), a.id());
        assert_ne!(a.id(), b.id());
    }
}
