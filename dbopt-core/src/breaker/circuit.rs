//! One circuit for many threads: passing costs a read, succeeding an addition that no other thread sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use tokio::time::Instant;

use super::config::Config;
use super::rules::Rules;
use super::state::{A_MOMENT, Decision, Failure, Life, Machine, State, Transition};
use super::stripes::Stripes;
use crate::backend::{ConnectError, Fault};
use crate::op::Lane;
use crate::owner::Alone;
use crate::random;

/// The circuit of one lane on one node.
///
/// Successes are counted per thread and looked at together: by [`Circuit::tick`], which a background loop calls about once a second, and
/// whenever a failure is judged. So the number of successes is always exact when it matters; only their age is not, by the time
/// between two ticks, and in the direction that keeps the circuit closed.
#[derive(Debug)]
pub struct Circuit {
    /// Whether calls pass. Written on a change of state only, under the machine's lock.
    closed: Alone<AtomicBool>,
    successes: Stripes,
    node: Mutex<Arc<str>>,
    lane: Lane,
    enabled: bool,
    slow_call: Option<Duration>,
    rules: Rules,
    machine: Mutex<Machine>,
    refused: AtomicU64,
}

/// What a caller may do.
#[derive(Debug)]
#[must_use]
pub enum Admission {
    /// Go on.
    Pass,
    /// Make the one test connection.
    Test(Probe),
}

/// Why a caller may not pass.
#[derive(Debug, Clone)]
pub struct Refused {
    /// When a test is due.
    pub retry_after: Duration,
    /// The last failure.
    pub cause: Option<Arc<str>>,
}

/// What a circuit looks like right now.
#[derive(Debug, Clone, Serialize)]
pub struct CircuitStatus {
    /// Whether calls pass.
    pub state: State,
    /// The last failure that counted, since it was closed.
    pub cause: Option<Arc<str>>,
    /// When the next test connection is due, in seconds, while it is open.
    pub test_in_seconds: Option<f64>,
    /// Calls it has refused.
    pub refused: u64,
    /// How often it changed its state.
    pub transitions: Vec<Changes>,
}

/// How often a circuit went from one state to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// What it was.
    pub from: State,
    /// What it became.
    pub to: State,
    /// How often.
    pub count: u64,
}

impl Circuit {
    /// A closed circuit.
    pub fn new(node: Arc<str>, lane: Lane, config: &Config) -> Arc<Self> {
        Arc::new(Circuit {
            closed: Alone(AtomicBool::new(true)),
            successes: Stripes::default(),
            node: Mutex::new(node),
            lane,
            enabled: config.enabled,
            slow_call: (!config.slow_call.is_zero()).then_some(config.slow_call),
            // Checked at the start.
            rules: Rules::new(&config.count, &config.ignore).unwrap_or_default(),
            machine: Mutex::new(Machine::new(config.policy())),
            refused: AtomicU64::new(0),
        })
    }

    /// Whether calls pass.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.closed.0.load(Ordering::Acquire)
    }

    /// Asks for a pass. Of all who come when a test is due, one is given it.
    ///
    /// # Errors
    /// While it is open, and while somebody makes the test.
    #[inline]
    pub fn admit(self: &Arc<Self>) -> Result<Admission, Refused> {
        if self.is_closed() { Ok(Admission::Pass) } else { self.admit_to_test() }
    }

    #[cold]
    fn admit_to_test(self: &Arc<Self>) -> Result<Admission, Refused> {
        let mut machine = self.machine.lock();
        let (decision, changed) = machine.admit(Instant::now());
        let cause = machine.cause().cloned();
        self.leave(machine, changed);
        match decision {
            Decision::Pass => Ok(Admission::Pass),
            Decision::Test(number) => Ok(Admission::Test(Probe { circuit: self.clone(), number, told: false })),
            Decision::Refuse(retry_after) => Err(Refused { retry_after, cause }),
        }
    }

    /// Notes a call that the node answered, whatever it answered.
    #[inline]
    pub fn succeeded(&self) {
        self.successes.add_one();
    }

    /// Notes a call that began then and that the node has answered. The clock is read only where slow calls count.
    #[inline]
    pub fn answered(&self, since: Instant) {
        if self.slow_call.is_none() || !self.was_slow(since) {
            self.succeeded();
        }
    }

    /// Notes a call that began then and was given up without an answer: a failure if it was a slow one, or else nothing.
    pub fn unanswered(&self, since: Instant) {
        self.was_slow(since);
    }

    #[cold]
    fn was_slow(&self, since: Instant) -> bool {
        let took = since.elapsed();
        let slow = self.slow_call.is_some_and(|limit| took >= limit);
        if slow {
            self.failed(Failure::Slow, &format!("a call took {took:?} (breaker.slow_call)"));
        }
        slow
    }

    /// Notes a call that began then and met `fault`: a failure if it is the node's, a success if it is the application's own.
    pub fn met(&self, fault: &Fault, since: Instant) {
        use crate::backend::FaultKind::{Application, RolledBack};
        let code = fault.sqlstate.map(|code| format!(", SQLSTATE {code}")).unwrap_or_default();
        match self.rules.fault(fault) {
            // Without its text, which may quote data.
            Some(failure) => self.failed(failure, &format!("a call met {}{code}", fault.kind.name())),
            None if matches!(fault.kind, Application | RolledBack) => self.answered(since),
            None => {}
        }
    }

    /// Notes a failure.
    pub fn failed(&self, failure: Failure, cause: &str) {
        if !self.enabled {
            return;
        }
        let (mut machine, now) = self.look();
        let changed = machine.failed(now, failure, cause, random::fraction());
        self.leave(machine, changed);
    }

    /// Notes an attempt to connect, other than a test, that succeeded.
    pub fn connected(&self) {
        self.succeeded();
        let (mut machine, now) = self.look();
        machine.connected(now);
    }

    /// Notes an attempt to connect, other than a test, that failed.
    pub fn not_connected(&self, error: &ConnectError) {
        if self.rules.connect(error) {
            self.failed(Failure::Connect, &error.message);
        }
    }

    /// Looks at what was counted; to be called about once a second.
    pub fn tick(&self) {
        drop(self.look());
    }

    /// The node was seen alive: an open circuit may be tested now.
    pub fn alive(&self, life: Life) {
        if !self.is_closed() {
            self.machine.lock().alive(Instant::now(), life);
        }
    }

    /// The node is not what it was, a primary instead of a replica for instance: nothing from before counts.
    pub fn reset(&self) {
        let (mut machine, now) = self.look();
        let changed = machine.reset(now);
        self.leave(machine, changed);
    }

    /// Another server stands behind it, called `node`: nothing from before counts, nor is counted any more.
    pub fn begin_anew(&self, node: Arc<str>) {
        self.reset();
        *self.node.lock() = node;
        self.refused.store(0, Ordering::Relaxed);
        self.machine.lock().forget_transitions();
    }

    /// Why it refuses, if it does.
    pub fn refusing(&self) -> Option<Refused> {
        if self.is_closed() {
            return None;
        }
        let machine = self.machine.lock();
        let retry_after = machine.test_in(Instant::now()).unwrap_or(A_MOMENT);
        Some(Refused { retry_after, cause: machine.cause().cloned() })
    }

    /// Counts a call that was refused.
    pub fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// All calls that were ever answered.
    pub fn successes(&self) -> u64 {
        self.successes.sum()
    }

    /// What it looks like right now.
    pub fn status(&self) -> CircuitStatus {
        let machine = self.machine.lock();
        let transitions = machine.transitions();
        let pairs = State::ALL.into_iter().flat_map(|from| State::ALL.map(|to| (from, to)));
        let counted = pairs.map(|(from, to)| Changes { from, to, count: transitions[from as usize][to as usize] });
        CircuitStatus {
            state: machine.state(),
            cause: machine.cause().cloned(),
            test_in_seconds: machine.test_in(Instant::now()).map(|wait| wait.as_secs_f64()),
            refused: self.refused.load(Ordering::Relaxed),
            transitions: counted.filter(|changes| changes.count > 0).collect(),
        }
    }

    /// The machine, which knows of all successes until now.
    fn look(&self) -> (MutexGuard<'_, Machine>, Instant) {
        let mut machine = self.machine.lock();
        let now = Instant::now();
        machine.sample(now, self.successes.sum());
        (machine, now)
    }

    /// Lets others see the machine's state, and tells a change.
    fn leave(&self, machine: MutexGuard<'_, Machine>, changed: Option<Transition>) {
        let Some(changed) = changed else { return };
        self.closed.0.store(changed.to == State::Closed, Ordering::Release);
        drop(machine);
        let cause = changed.cause.as_deref().unwrap_or("");
        let (node, lane, from) = (self.node.lock().clone(), self.lane, changed.from.name());
        match (changed.from, changed.to) {
            (State::HalfOpen, State::Open) if changed.test_in <= Some(A_MOMENT) => {
                tracing::debug!(%node, %lane, "the test of an open circuit was given up, or came too early");
            }
            (_, State::Open) => {
                let test_in = changed.test_in.unwrap_or_default();
                tracing::warn!(%node, %lane, from, ?test_in, "circuit opened: {cause}");
            }
            (_, State::HalfOpen) => {
                tracing::debug!(%node, %lane, from, "circuit half-open: one test connection is made")
            }
            (_, State::Closed) => tracing::info!(%node, %lane, from, "circuit closed"),
        }
    }
}

/// The permit for the one test connection. Dropped without a result, it goes back, and the next caller makes the test.
#[derive(Debug)]
pub struct Probe {
    circuit: Arc<Circuit>,
    number: u64,
    told: bool,
}

impl Probe {
    /// The test connection was opened: calls pass again.
    pub fn succeeded(mut self) {
        self.told = true;
        let (mut machine, now) = self.circuit.look();
        let changed = machine.test_succeeded(now, self.number);
        self.circuit.leave(machine, changed);
    }

    /// It could not be opened.
    pub fn failed(mut self, error: &ConnectError) {
        self.told = true;
        let (mut machine, now) = self.circuit.look();
        let changed = machine.test_failed(now, self.number, &error.message, random::fraction());
        self.circuit.leave(machine, changed);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if !self.told {
            let (mut machine, now) = self.circuit.look();
            let changed = machine.test_returned(now, self.number);
            self.circuit.leave(machine, changed);
        }
    }
}

#[cfg(test)]
mod tests;
