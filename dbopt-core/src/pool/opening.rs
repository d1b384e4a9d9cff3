//! How a pool opens connections: independently of who asked, one attempt at a time while they fail.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::lending::{Pool, Slot};
use super::store::Taken;
use crate::backend::{Backend, ConnectError};
use crate::breaker::{Backoff, BackoffPolicy, Probe};
use crate::error::{Reason, Refusal};
use crate::random;

/// How the latest attempts to connect went.
#[derive(Default)]
pub(super) struct Attempts {
    backoff: Backoff,
    cause: Option<Arc<ConnectError>>,
    /// Grows with each failure that counts: attempts that were under way together fail as one.
    round: u64,
}

impl Attempts {
    /// The last failure since the last success.
    pub(super) fn cause(&self) -> Option<&Arc<ConnectError>> {
        self.cause.as_ref()
    }

    /// How long no attempt is to be made.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        if self.is_failing() { self.backoff.remaining(now) } else { None }
    }

    fn is_failing(&self) -> bool {
        self.backoff.failures() > 0
    }

    /// Notes a failure of an attempt begun in `round`; `None` when another one of that round was noted before.
    fn failed(&mut self, cause: &Arc<ConnectError>, round: u64, policy: BackoffPolicy) -> Option<Duration> {
        self.cause = Some(cause.clone());
        if round != self.round {
            return None;
        }
        self.round += 1;
        Some(self.backoff.failed(policy, Instant::now(), random::fraction()))
    }

    fn succeeded(&mut self) {
        self.backoff.reset();
        self.cause = None;
    }
}

/// An attempt under way, counted until it ends, however it does.
pub(super) struct Opening<B: Backend> {
    pool: Arc<Pool<B>>,
    round: u64,
    /// Whether to connect when nothing is parked.
    may_connect: bool,
    /// Set if it is the circuit's test: dropped without a result, it goes back.
    probe: Option<Probe>,
    counted: bool,
}

impl<B: Backend> Drop for Opening<B> {
    fn drop(&mut self) {
        if self.counted {
            self.pool.lobby.lock().opening -= 1;
        }
        self.pool.settled.notify_waiters();
    }
}

impl<B: Backend> Pool<B> {
    /// Opens what the queue and the minimum want, as far as share, circuit and backoff allow; tells those callers so at once whom
    /// nothing will serve.
    pub(super) fn open_wanted(self: &Arc<Self>) {
        if !self.circuit.is_closed() {
            self.test_if_due();
            return self.turn_away_stranded();
        }
        let (count, round, may_connect, stranded) = {
            let mut lobby = self.lobby.lock();
            let wanted = if lobby.short_of_room { 0 } else { lobby.wanted() };
            let (mut count, mut round, mut may_connect) = (wanted, 0, true);
            if wanted > 0 {
                let attempts = self.attempts.lock();
                round = attempts.round;
                if attempts.wait(Instant::now()).is_some() {
                    may_connect = false;
                    count = wanted.min(self.store.parked());
                } else if attempts.is_failing() {
                    count = wanted.min(1usize.saturating_sub(lobby.opening));
                }
            }
            lobby.opening += count;
            let nothing_comes = lobby.limit == 0 || lobby.here + lobby.opening == 0;
            (count, round, may_connect, nothing_comes && !lobby.waiting.is_empty())
        };
        for _ in 0..count {
            let opening = Opening { pool: self.clone(), round, may_connect, probe: None, counted: true };
            self.runtime.spawn(opening.run());
        }
        if stranded {
            self.turn_away_stranded();
        }
    }

    /// Refuses those who wait although no connection will come back, none is being opened and none may be.
    fn turn_away_stranded(&self) {
        let (stranded, refusal) = {
            let mut lobby = self.lobby.lock();
            let refusal = match lobby.limit {
                _ if lobby.waiting.is_empty() => None,
                0 => Some(self.not_served()),
                _ if lobby.here + lobby.opening > 0 => None,
                _ => self.circuit_open().or_else(|| self.backing_off()),
            };
            let Some(refusal) = refusal else { return };
            (lobby.turn_away(true), refusal)
        };
        for caller in stranded {
            drop(caller.answer.send(Err(refusal.clone())));
        }
    }

    /// Opens the minimum and waits until it is there.
    ///
    /// # Errors
    /// With the cause of the first failure.
    pub async fn warm(self: &Arc<Self>) -> Result<(), Refusal> {
        let began = Instant::now();
        let until = began + self.config.connect_timeout * 2;
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            self.open_wanted();
            {
                let lobby = self.lobby.lock();
                if lobby.here >= lobby.min.min(lobby.limit) {
                    return Ok(());
                }
                if let Some(cause) = self.attempts.lock().cause() {
                    return Err(self.refusal(cause.reason, cause.message.clone(), None));
                }
            }
            if timeout_at(until, settled).await.is_err() {
                return Err(self.waited_in_vain(began.elapsed()));
            }
        }
    }

    /// Forgets earlier failures: the node was seen alive.
    pub fn retry_now(self: &Arc<Self>) {
        let was_failing = {
            let mut attempts = self.attempts.lock();
            let was_failing = attempts.is_failing();
            attempts.backoff.reset();
            was_failing
        };
        if was_failing {
            self.open_wanted();
        }
    }

    /// Another server takes the node's place: nothing that was met before counts. Only for a pool that is empty.
    pub fn begin_anew(&self) {
        self.attempts.lock().succeeded();
        self.circuit.begin_anew(self.site.name());
    }

    /// Looks again what to open after `wait`, rather than at some later maintenance.
    fn retry_after(self: &Arc<Self>, wait: Duration) {
        let pool = Arc::downgrade(self);
        self.runtime.spawn(async move {
            sleep(wait).await;
            if let Some(pool) = pool.upgrade() {
                pool.open_wanted();
            }
        });
    }
}

impl<B: Backend> Opening<B> {
    /// The test of an open circuit, already counted as being opened.
    pub(super) fn for_test(pool: Arc<Pool<B>>, probe: Probe) -> Self {
        let round = pool.attempts.lock().round;
        Opening { pool, round, may_connect: true, probe: Some(probe), counted: true }
    }

    pub(super) async fn run(self) {
        if !self.may_connect {
            return match self.pool.store.unpark() {
                Some(taken) => self.arrived(taken),
                None => self.nothing_parked(),
            };
        }
        let releases = self.pool.budget.releases();
        let store = &self.pool.store;
        let opened = if self.probe.is_some() { store.take_new().await } else { store.take().await };
        match opened {
            Ok(taken) => self.arrived(taken),
            Err(cause) if cause.reason == Reason::Busy => self.no_room(releases),
            Err(cause) => self.failed(&cause),
        }
    }

    fn arrived(mut self, mut taken: Taken<B>) {
        let pool = self.pool.clone();
        // One that was parked tells nothing about the node.
        let new = std::mem::take(&mut taken.new);
        let was_failing = {
            let mut attempts = pool.attempts.lock();
            let was_failing = new && attempts.is_failing();
            if new {
                attempts.succeeded();
            }
            was_failing
        };
        match self.probe.take() {
            Some(probe) => probe.succeeded(),
            None if new => pool.circuit.connected(),
            None => {}
        }
        if was_failing {
            tracing::info!(node = %pool.site.name(), lane = %pool.lane, "connected again");
        }
        let dies_at_ms = taken.dies_at.saturating_duration_since(pool.born).as_millis() as u64;
        let plans = pool.plans.load(Ordering::Relaxed);
        let seat = {
            let mut lobby = pool.lobby.lock();
            lobby.opening -= 1;
            lobby.here += 1;
            self.counted = false;
            lobby.new_seat()
        };
        let slot = Box::new(Slot { taken, seat, idle_since_ms: 0, dies_at_ms, plans });
        pool.clone().give(slot);
        // The node answers again: what was held back to one attempt at a time may follow now.
        pool.open_wanted();
    }

    /// What was parked had died there, or another attempt took it.
    fn nothing_parked(self) {
        let pool = self.pool.clone();
        drop(self);
        pool.open_wanted();
    }

    /// Others have all of the budget and must shrink first: nothing is wrong with the node.
    fn no_room(mut self, releases: u64) {
        let pool = self.pool.clone();
        let (turned_away, wait) = {
            let mut lobby = pool.lobby.lock();
            lobby.opening -= 1;
            self.counted = false;
            let turned_away = lobby.turn_away(false);
            let wait = !lobby.short_of_room && lobby.wanted() > 0;
            lobby.short_of_room |= wait;
            (turned_away, wait)
        };
        for caller in turned_away {
            drop(caller.answer.send(Err(pool.busy())));
        }
        if wait {
            let (budget, weak) = (pool.budget.clone(), Arc::downgrade(&pool));
            pool.runtime.spawn(async move {
                budget.released_since(releases).await;
                if let Some(pool) = weak.upgrade() {
                    pool.lobby.lock().short_of_room = false;
                    pool.open_wanted();
                }
            });
        }
    }

    fn failed(mut self, cause: &Arc<ConnectError>) {
        let pool = self.pool.clone();
        let (counted, failures, wait) = {
            let mut attempts = pool.attempts.lock();
            let counted = attempts.failed(cause, self.round, pool.config.backoff());
            (counted, attempts.backoff.failures(), attempts.wait(Instant::now()))
        };
        // A node that answers leaves us what we have.
        let serves_on = !cause.reason.is_node_fault() && pool.lobby.lock().here > 0;
        match self.probe.take() {
            Some(probe) => probe.failed(cause),
            // Attempts that were under way together fail as one for the circuit, too.
            None if counted.is_some() && !serves_on => pool.circuit.not_connected(cause),
            None => {}
        }
        if let Some(wait) = counted {
            tracing::warn!(
                node = %pool.site.name(), lane = %pool.lane, reason = cause.reason.name(), failures, retry_in = ?wait,
                "cannot connect: {}", cause.message
            );
            pool.retry_after(wait);
        }
        let turned_away = {
            let mut lobby = pool.lobby.lock();
            lobby.opening -= 1;
            self.counted = false;
            // What is there will come back to those who may wait for it.
            lobby.turn_away(!serves_on)
        };
        let refusal: Refusal = pool.refusal(cause.reason, cause.message.clone(), wait);
        for caller in turned_away {
            drop(caller.answer.send(Err(refusal.clone())));
        }
    }
}
