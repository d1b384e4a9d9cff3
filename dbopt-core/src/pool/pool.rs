//! One lane of one node: the wiring between callers, the lobby and the store.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::Budget;
use super::config::Config;
use super::lease::Lease;
use super::lobby::{Lobby, Waiter};
use super::share::Share;
use super::store::{Store, Taken, random};
use crate::backend::{Backend, ConnectError, Connection, Endpoint, Health};
use crate::breaker::Backoff;
use crate::error::{Reason, Refusal};
use crate::op::{Lane, Op};

/// The connections of one lane on one node.
pub struct Pool<B: Backend> {
    node: Arc<str>,
    lane: Lane,
    config: Arc<Config>,
    store: Store<B>,
    lobby: Mutex<Lobby<Box<Slot<B>>, Caller<B>>>,
    attempts: Mutex<Attempts>,
    /// Signalled whenever a connection was opened or could not be.
    settled: Notify,
    born: Instant,
    /// Milliseconds since `born` as of the last maintenance: idle times need no finer clock.
    coarse_ms: AtomicU64,
}

/// A connection out of the store.
pub(super) struct Slot<B: Backend> {
    pub(super) taken: Taken<B>,
    /// Its place among the holders while it is lent.
    seat: Option<u32>,
    idle_since_ms: u64,
}

impl<B: Backend> Slot<B> {
    fn stand_up(&mut self, lobby: &mut Lobby<Box<Slot<B>>, Caller<B>>) {
        if let Some(seat) = self.seat.take() {
            lobby.stand_up(seat);
        }
    }
}

struct Caller<B: Backend> {
    answer: oneshot::Sender<Result<Lease<B>, Refusal>>,
    op: &'static Op,
}

impl<B: Backend> Waiter for Caller<B> {
    fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }
}

#[derive(Default)]
struct Attempts {
    backoff: Backoff,
    cause: Option<Arc<ConnectError>>,
}

/// What a pool looks like right now.
#[derive(Debug, Clone, Serialize)]
pub struct PoolStatus {
    /// The lane.
    pub lane: &'static str,
    /// Connections in use, ready and parked.
    pub open: usize,
    /// Connections lent to calls.
    pub in_use: usize,
    /// Callers in the queue.
    pub waiting: usize,
    /// Connections kept open at all times.
    pub min: usize,
    /// Connections that may be open.
    pub max: usize,
    /// The last failed connection attempt since the last successful one.
    pub last_error: Option<String>,
}

impl<B: Backend> Pool<B> {
    /// A pool without connections; [`Pool::set_share`] gives it room.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(backend: Arc<B>, endpoint: Endpoint, lane: Lane, budget: Arc<Budget>, config: Arc<Config>) -> Arc<Self> {
        Arc::new(Pool {
            node: endpoint.name.clone(),
            lane,
            store: Store::new(backend, endpoint, lane, budget, &config),
            lobby: Mutex::new(Lobby::new()),
            attempts: Mutex::default(),
            settled: Notify::new(),
            born: Instant::now(),
            coarse_ms: AtomicU64::new(0),
            config,
        })
    }

    /// The lane.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// Lends a connection to a call of `op`.
    ///
    /// Callers are served first come, first served. With `may_queue` false the caller is given what is free or can be opened at
    /// once, and refused otherwise.
    ///
    /// # Errors
    /// At once with the true cause when the node cannot be reached, the queue is full or the pool is closed; after
    /// `pool.acquire_timeout`, or at `deadline`, when no connection came free.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue; a connection already on its way goes to the next caller.
    pub async fn acquire(self: &Arc<Self>, op: &'static Op, deadline: Instant, may_queue: bool) -> Result<Lease<B>, Refusal> {
        let granted = loop {
            if let Some(lease) = self.try_acquire(op) {
                return Ok(lease);
            }
            let (answer, granted) = oneshot::channel();
            if self.join_queue(Caller { answer, op }, may_queue)? {
                break granted;
            }
        };
        self.open_wanted();
        let entered = Instant::now();
        let until = deadline.min(entered + self.config.acquire_timeout);
        match timeout_at(until, granted).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(self.closed()),
            Err(_) => Err(self.waited_in_vain(entered.elapsed())),
        }
    }

    /// Lends a connection that is ready now, without waiting.
    pub fn try_acquire(self: &Arc<Self>, op: &'static Op) -> Option<Lease<B>> {
        loop {
            let mut slot = {
                let mut lobby = self.lobby.lock();
                let mut slot = lobby.take_ready()?;
                slot.seat = Some(lobby.sit(op, self.coarse_ms.load(Ordering::Relaxed)));
                slot
            };
            if slot.taken.connection.health() == Health::Clean {
                return Some(Lease::new(slot, self.clone()));
            }
            self.discard(slot);
        }
    }

    /// Queues the caller; false when a connection came back since it last looked.
    fn join_queue(&self, caller: Caller<B>, may_queue: bool) -> Result<bool, Refusal> {
        let mut lobby = self.lobby.lock();
        if lobby.closed {
            return Err(self.closed());
        }
        if lobby.waiting.is_empty() && !lobby.ready.is_empty() {
            return Ok(false);
        }
        let room = lobby.here + lobby.opening < lobby.limit;
        if !may_queue && (!room || !lobby.waiting.is_empty()) {
            return Err(self.refusal(
                Reason::Busy,
                "no connection is free, and the caller holds another one, so it must not wait".into(),
                None,
            ));
        }
        if lobby.here == 0 {
            let attempts = self.attempts.lock();
            if let (Some(wait), Some(cause)) = (attempts.backoff.remaining(Instant::now()), &attempts.cause) {
                return Err(self.refusal(
                    Reason::BackingOff,
                    format!("the last attempt to connect failed ({})", cause.message),
                    Some(wait),
                ));
            }
        }
        match lobby.queue(caller, self.config.max_waiting) {
            Ok(()) => Ok(true),
            Err(_) => Err(self.refusal(
                Reason::QueueFull,
                format!(
                    "{} callers are waiting already (pool.max_waiting); the statements are too slow or the pool too small",
                    self.config.max_waiting
                ),
                None,
            )),
        }
    }

    /// Opens what the queue and the minimum want, as far as share and backoff allow.
    fn open_wanted(self: &Arc<Self>) {
        let count = {
            let mut lobby = self.lobby.lock();
            let attempts = self.attempts.lock();
            if attempts.backoff.remaining(Instant::now()).is_some() {
                return;
            }
            let count = lobby.wanted(attempts.backoff.failures() > 0);
            lobby.opening += count;
            count
        };
        for _ in 0..count {
            let pool = self.clone();
            tokio::spawn(async move {
                match pool.store.take().await {
                    Ok(taken) => pool.arrived(taken),
                    Err(cause) => pool.failed(&cause),
                }
                pool.settled.notify_waiters();
            });
        }
    }

    fn arrived(self: &Arc<Self>, taken: Taken<B>) {
        {
            let mut attempts = self.attempts.lock();
            if attempts.backoff.failures() > 0 {
                tracing::info!(node = %self.node, lane = %self.lane, "connected again");
            }
            *attempts = Attempts::default();
        }
        let slot = Box::new(Slot {
            taken,
            seat: None,
            idle_since_ms: 0,
        });
        {
            let mut lobby = self.lobby.lock();
            lobby.opening -= 1;
            lobby.here += 1;
        }
        self.give(slot);
        // The node answers again: what was held back to one attempt at a time may follow now.
        self.open_wanted();
    }

    fn failed(self: &Arc<Self>, cause: &Arc<ConnectError>) {
        // The budget is taken by pools that must shrink first: nothing is wrong with the node.
        if cause.reason == Reason::Busy {
            self.lobby.lock().opening -= 1;
            return;
        }
        let (wait, failures) = {
            let mut attempts = self.attempts.lock();
            let wait = attempts.backoff.failed(self.config.backoff(), Instant::now(), random());
            attempts.cause = Some(cause.clone());
            (wait, attempts.backoff.failures())
        };
        let turned_away = {
            let mut lobby = self.lobby.lock();
            lobby.opening -= 1;
            let others_will_return = cause.reason == Reason::ServerFull && lobby.here > 0;
            if others_will_return { Default::default() } else { std::mem::take(&mut lobby.waiting) }
        };
        tracing::warn!(
            node = %self.node, lane = %self.lane, reason = cause.reason.name(), failures, retry_in = ?wait,
            "cannot connect: {}", cause.message
        );
        for caller in turned_away {
            let refusal = self.refusal(cause.reason, cause.message.clone(), Some(wait));
            drop(caller.answer.send(Err(refusal)));
        }
    }

    /// Gives a clean connection to the caller that has waited longest, or keeps it ready.
    fn give(self: &Arc<Self>, mut slot: Box<Slot<B>>) {
        loop {
            let caller = {
                let mut lobby = self.lobby.lock();
                if lobby.closed || lobby.here > lobby.limit {
                    drop(lobby);
                    return self.discard(slot);
                }
                let now_ms = self.coarse_ms.load(Ordering::Relaxed);
                match lobby.next_waiting() {
                    Some(caller) => {
                        slot.seat = Some(lobby.sit(caller.op, now_ms));
                        caller
                    }
                    None => {
                        slot.idle_since_ms = now_ms;
                        lobby.ready.push(slot);
                        return;
                    }
                }
            };
            // Whoever gave up after being picked hands the connection back.
            match caller.answer.send(Ok(Lease::new(slot, self.clone()))) {
                Err(Ok(lease)) => match lease.into_slot() {
                    Some(back) => slot = back,
                    None => return,
                },
                _ => return,
            }
            slot.stand_up(&mut self.lobby.lock());
        }
    }

    /// Takes a connection back from a caller.
    pub(super) fn take_back(self: &Arc<Self>, mut slot: Box<Slot<B>>) {
        match slot.taken.connection.health() {
            Health::Clean => {
                slot.stand_up(&mut self.lobby.lock());
                self.give(slot);
            }
            Health::Closed => self.discard(slot),
            Health::Busy | Health::InTransaction => self.recover(slot),
        }
    }

    /// Cancels what the last caller left running. The connection counts as in use until it is proved clean.
    fn recover(self: &Arc<Self>, mut slot: Box<Slot<B>>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return self.discard(slot);
        };
        let pool = self.clone();
        runtime.spawn(async move {
            let clean = timeout(pool.config.connect_timeout, slot.taken.connection.recover()).await;
            if clean == Ok(true) && slot.taken.connection.health() == Health::Clean {
                slot.stand_up(&mut pool.lobby.lock());
                pool.give(slot);
            } else {
                tracing::debug!(node = %pool.node, lane = %pool.lane, "closed a connection whose caller went away in the middle");
                pool.discard(slot);
            }
        });
    }

    /// Closes a connection.
    pub(super) fn discard(self: &Arc<Self>, mut slot: Box<Slot<B>>) {
        slot.taken.retired = true;
        {
            let mut lobby = self.lobby.lock();
            lobby.here -= 1;
            slot.stand_up(&mut lobby);
        }
        drop(slot);
        if tokio::runtime::Handle::try_current().is_ok() {
            self.open_wanted();
        }
    }

    /// Sets how many connections the pool may have; surplus ones close as they come back.
    pub fn set_share(&self, share: Share) {
        let mut lobby = self.lobby.lock();
        (lobby.limit, lobby.min) = (share.max, share.min);
        self.store.set_limit(share.max);
    }

    /// Parks what idles, closes what is old, opens what is missing and reports what is held too long.
    pub fn maintain(self: &Arc<Self>) {
        let now = Instant::now();
        let now_ms = now.duration_since(self.born).as_millis() as u64;
        self.coarse_ms.store(now_ms, Ordering::Relaxed);
        let park_after = (self.config.idle_timeout / 2).as_millis() as u64;
        let mut leaving = Vec::new();
        {
            let mut lobby = self.lobby.lock();
            let (mut here, min, limit) = (lobby.here, lobby.min, lobby.limit);
            // The longest idle ones are in front.
            let mut kept = Vec::with_capacity(lobby.ready.len());
            for mut slot in std::mem::take(&mut lobby.ready) {
                let open = &mut *slot.taken;
                let idle = now_ms.saturating_sub(slot.idle_since_ms) >= park_after;
                open.retired = open.dies_at <= now || open.connection.health() != Health::Clean || here > limit;
                if open.retired || idle && here > min {
                    here -= 1;
                    leaving.push(slot);
                } else {
                    kept.push(slot);
                }
            }
            lobby.ready = kept;
            lobby.here = here;
            let limit_ms = self.config.leak_warning.as_millis() as u64;
            for holder in lobby.holders() {
                let held_ms = now_ms.saturating_sub(holder.since_ms);
                if held_ms > limit_ms && !holder.reported {
                    holder.reported = true;
                    tracing::warn!(
                        node = %self.node, lane = %self.lane, method = holder.op.name(), location = ?holder.op.location(), held_ms,
                        "a connection is held for longer than pool.leak_warning: a slow statement, or a body that waits for something else"
                    );
                }
            }
        }
        drop(leaving);
        self.open_wanted();
    }

    /// Opens the minimum and waits until it is there.
    ///
    /// # Errors
    /// With the cause of the first failure.
    pub async fn warm(self: &Arc<Self>) -> Result<(), Refusal> {
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
                if let Some(cause) = &self.attempts.lock().cause {
                    return Err(self.refusal(cause.reason, cause.message.clone(), None));
                }
            }
            if timeout(self.config.connect_timeout * 2, settled).await.is_err() {
                return Err(self.waited_in_vain(self.config.connect_timeout * 2));
            }
        }
    }

    /// Forgets earlier failures: the node was seen alive.
    pub fn retry_now(self: &Arc<Self>) {
        let failing = {
            let mut attempts = self.attempts.lock();
            let failing = attempts.backoff.failures() > 0;
            attempts.backoff.reset();
            failing
        };
        if failing {
            self.open_wanted();
        }
    }

    /// Closes every connection nobody uses: the node was seen dead, or is no longer what it was.
    pub fn drop_idle(self: &Arc<Self>) {
        let idle: Vec<_> = {
            let mut lobby = self.lobby.lock();
            let idle = std::mem::take(&mut lobby.ready);
            lobby.here -= idle.len();
            idle
        };
        for mut slot in idle {
            slot.taken.retired = true;
        }
    }

    /// Refuses new callers and closes idle connections; those in use close as they come back.
    pub fn close(self: &Arc<Self>) {
        let waiting = {
            let mut lobby = self.lobby.lock();
            lobby.closed = true;
            std::mem::take(&mut lobby.waiting)
        };
        for caller in waiting {
            drop(caller.answer.send(Err(self.closed())));
        }
        self.drop_idle();
    }

    /// Connections lent to calls.
    pub fn in_use(&self) -> usize {
        self.lobby.lock().in_use()
    }

    /// What the pool looks like right now.
    pub fn status(&self) -> PoolStatus {
        let lobby = self.lobby.lock();
        PoolStatus {
            lane: self.lane.name(),
            open: self.store.open(),
            in_use: lobby.in_use(),
            waiting: lobby.waiting.iter().filter(|w| !w.is_gone()).count(),
            min: lobby.min,
            max: lobby.limit,
            last_error: self.attempts.lock().cause.as_ref().map(|c| c.message.clone()),
        }
    }

    fn refusal(&self, reason: Reason, detail: String, retry_after: Option<Duration>) -> Refusal {
        Refusal {
            node: self.node.clone(),
            lane: self.lane,
            reason,
            detail,
            retry_after,
        }
    }

    fn closed(&self) -> Refusal {
        self.refusal(Reason::Closed, "the pool is closed".into(), None)
    }

    fn waited_in_vain(&self, waited: Duration) -> Refusal {
        let status = self.status();
        let mut detail = format!(
            "no connection came free within {waited:?}: {} of {} are in use, {} callers wait",
            status.in_use, status.max, status.waiting
        );
        if let Some(cause) = status.last_error {
            detail.push_str(&format!("; the last attempt to connect failed ({cause})"));
        }
        self.refusal(Reason::AcquireTimeout, detail, None)
    }
}

impl<B: Backend> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("node", &self.node)
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}
