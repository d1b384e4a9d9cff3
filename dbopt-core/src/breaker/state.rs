//! When a circuit opens, who tests it, and when it closes. Pure.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::window::Window;

/// When a circuit opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// How far back failures are looked at.
    pub window: Duration,
    /// How many outcomes there must be, or how many failures in a row are enough.
    pub minimum: u32,
    /// The share of failures above which it opens.
    pub failure_rate: f64,
    /// How long it refuses before the first test.
    pub open: Duration,
    /// How long it refuses between tests at most.
    pub open_max: Duration,
}

/// What a circuit does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// One test connection is being made; calls are refused.
    HalfOpen,
}

impl State {
    /// All states, in the order of their numbers in metrics: 0, 1, 2.
    pub const ALL: [State; 3] = [State::Closed, State::Open, State::HalfOpen];

    /// The state's name as it appears in metrics, logs and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half_open",
        }
    }
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// An attempt to connect.
    Connect,
    /// A connection that was in use. It may have been the session and not the node: the next attempt to connect tells.
    Loss,
    /// A call, for want of resources of the node.
    Fault,
    /// A call that took longer than `breaker.slow_call`.
    Slow,
}

/// A change of state, to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// The last failure.
    pub cause: Option<Arc<str>>,
    /// When the next test is due, if it is open.
    pub test_in: Option<Duration>,
}

/// What was seen of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It had been found dead and is back.
    Returned,
    /// It answered its monitor then, although calls had met errors there.
    Answered(Instant),
}

/// Whether a call may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Pass,
    /// The caller makes the test; the number is to be given back with its result.
    Test(u64),
    Refuse(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Closed,
    Open {
        due: Instant,
    },
    HalfOpen {
        test: u64,
        /// The node was seen alive since the test began, which may have been too early.
        news: bool,
    },
}

/// What those are told who come while a test is made; and how long a test that was given up waits for the next caller, so that one which cannot
/// even begin is not tried by each.
pub(super) const A_MOMENT: Duration = Duration::from_millis(100);

/// The state of a circuit.
#[derive(Debug)]
pub(super) struct Machine {
    policy: Policy,
    window: Window,
    phase: Phase,
    /// Successes that were ever counted, as of the last look.
    successes: u64,
    /// Failures without a success between them.
    run: u32,
    /// Lost connections of which nobody knows yet whether the node was lost with them.
    losses: u32,
    losses_began: Option<Instant>,
    /// When losses were last found to be the sessions' only.
    forgiven: Option<Instant>,
    /// Openings since it was closed.
    openings: u32,
    /// When it opened last.
    opened_at: Option<Instant>,
    /// Whether a mere sign of life has brought the test forward since it opened.
    hastened: bool,
    tests: u64,
    cause: Option<Arc<str>>,
    transitions: [[u64; 3]; 3],
}

impl Machine {
    pub(super) fn new(policy: Policy) -> Self {
        Machine {
            policy,
            window: Window::new(policy.window),
            phase: Phase::Closed,
            successes: 0,
            run: 0,
            losses: 0,
            losses_began: None,
            forgiven: None,
            openings: 0,
            opened_at: None,
            hastened: false,
            tests: 0,
            cause: None,
            transitions: [[0; 3]; 3],
        }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// The last failure, since it was closed or reset.
    pub(super) fn cause(&self) -> Option<&Arc<str>> {
        self.cause.as_ref()
    }

    /// When a test may be made, if it is open.
    pub(super) fn test_in(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Open { due } => Some(due.saturating_duration_since(now)),
            _ => None,
        }
    }

    /// How often it went from the first state to the second, by their places in [`State::ALL`].
    pub(super) fn forget_transitions(&mut self) {
        self.transitions = [[0; 3]; 3];
    }

    pub(super) fn transitions(&self) -> [[u64; 3]; 3] {
        self.transitions
    }

    /// Notes how many successes there ever were. What has come since the last look counts as of now, so a success stays in the window too
    /// long rather than too short.
    pub(super) fn sample(&mut self, now: Instant, successes: u64) {
        let new = successes.wrapping_sub(self.successes);
        if new > 0 {
            self.run = 0;
            self.successes = successes;
            self.window.add(now, new, 0);
        }
    }

    pub(super) fn admit(&mut self, now: Instant) -> (Decision, Option<Transition>) {
        match self.phase {
            Phase::Closed => (Decision::Pass, None),
            Phase::Open { due } if due <= now => {
                self.tests += 1;
                let changed = self.enter(Phase::HalfOpen { test: self.tests, news: false }, now);
                (Decision::Test(self.tests), changed)
            }
            Phase::Open { due } => (Decision::Refuse(due - now), None),
            Phase::HalfOpen { .. } => (Decision::Refuse(A_MOMENT), None),
        }
    }

    /// Notes a failure; [`Machine::sample`] comes before it. `random` in `0.0..1.0` spreads the tests of many instances.
    pub(super) fn failed(&mut self, now: Instant, failure: Failure, cause: &str, random: f64) -> Option<Transition> {
        if self.phase != Phase::Closed {
            return None;
        }
        self.cause = Some(cause.into());
        let recent = |then: Option<Instant>| then.is_some_and(|then| now - then < self.policy.window);
        let earlier = if recent(self.losses_began) { self.losses } else { 0 };
        let counted = match failure {
            // Sessions are ended together by an administrator, a proxy, a restart: that is no reason to leave the node alone before
            // connecting fails, too. Once in a window; a node that takes connections only to lose them is no use.
            Failure::Loss if !recent(self.forgiven) => {
                if earlier == 0 {
                    self.losses_began = Some(now);
                }
                self.losses = earlier.saturating_add(1);
                return None;
            }
            Failure::Connect => earlier.saturating_add(1),
            Failure::Loss | Failure::Fault | Failure::Slow => 1,
        };
        if failure == Failure::Connect {
            self.losses = 0;
        }
        self.window.add(now, 0, u64::from(counted));
        self.run = self.run.saturating_add(counted);
        if self.trips(now) { self.open(now, random) } else { None }
    }

    /// Notes an attempt to connect that succeeded: what was lost before were sessions.
    pub(super) fn connected(&mut self, now: Instant) {
        if std::mem::take(&mut self.losses) > 0 {
            self.forgiven = Some(now);
        }
    }

    fn trips(&mut self, now: Instant) -> bool {
        let lately = self.window.sum(now);
        let (failures, all) = (lately.failures, lately.failures + lately.successes);
        let minimum = u64::from(self.policy.minimum);
        let too_many = failures as f64 > self.policy.failure_rate * all as f64;
        all >= minimum && too_many || u64::from(self.run).min(failures) >= minimum
    }

    pub(super) fn test_succeeded(&mut self, now: Instant, test: u64) -> Option<Transition> {
        if !self.is_under_way(test) {
            return None;
        }
        let changed = self.enter(Phase::Closed, now);
        self.forget();
        changed
    }

    pub(super) fn test_failed(&mut self, now: Instant, test: u64, cause: &str, random: f64) -> Option<Transition> {
        let Phase::HalfOpen { test: running, news } = self.phase else { return None };
        if running != test {
            return None;
        }
        self.cause = Some(cause.into());
        if news {
            return self.enter(Phase::Open { due: now }, now);
        }
        self.open(now, random)
    }

    /// The test was given up without a result: the next caller makes it, a moment later.
    pub(super) fn test_returned(&mut self, now: Instant, test: u64) -> Option<Transition> {
        if self.is_under_way(test) { self.enter(Phase::Open { due: now + A_MOMENT }, now) } else { None }
    }

    /// The node was seen alive: the test is due. A mere answer counts once until the circuit closes, and only if it came after it opened; a
    /// node that was found dead and came back is believed each time, so one that goes up and down is never locked out longer than it
    /// is down.
    pub(super) fn alive(&mut self, now: Instant, life: Life) {
        let believed = match life {
            Life::Returned => true,
            Life::Answered(then) => !self.hastened && self.opened_at.is_some_and(|opened| then > opened),
        };
        if self.phase == Phase::Closed || !believed {
            return;
        }
        self.hastened = true;
        match &mut self.phase {
            Phase::Open { due } => *due = now.min(*due),
            Phase::HalfOpen { news, .. } => *news = true,
            Phase::Closed => {}
        }
    }

    /// The node is not what it was: nothing from before counts.
    pub(super) fn reset(&mut self, now: Instant) -> Option<Transition> {
        let changed = if self.phase == Phase::Closed { None } else { self.enter(Phase::Closed, now) };
        self.forget();
        changed
    }

    fn is_under_way(&self, number: u64) -> bool {
        matches!(self.phase, Phase::HalfOpen { test, .. } if test == number)
    }

    fn open(&mut self, now: Instant, random: f64) -> Option<Transition> {
        let doubled = self.policy.open.saturating_mul(1u32.checked_shl(self.openings).unwrap_or(u32::MAX));
        let wait = doubled.min(self.policy.open_max).mul_f64(1.0 + 0.1 * random.clamp(0.0, 1.0));
        self.openings = self.openings.saturating_add(1);
        self.opened_at = Some(now);
        self.enter(Phase::Open { due: now + wait }, now)
    }

    fn enter(&mut self, phase: Phase, now: Instant) -> Option<Transition> {
        let from = self.state();
        self.phase = phase;
        let to = self.state();
        self.transitions[from as usize][to as usize] += 1;
        Some(Transition { from, to, cause: self.cause.clone(), test_in: self.test_in(now) })
    }

    fn forget(&mut self) {
        self.window.clear();
        (self.run, self.losses, self.openings) = (0, 0, 0);
        (self.losses_began, self.forgiven, self.hastened, self.cause) = (None, None, false, None);
    }
}

#[cfg(test)]
mod tests;
