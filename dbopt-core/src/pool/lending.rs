//! One lane of one node: how callers get a connection and give it back.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use futures_util::FutureExt;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use super::budget::Budget;
use super::config::Config;
use super::lease::Lease;
use super::lobby::{Lobby, Seat, Waiter};
use super::opening::Attempts;
use super::store::{Store, Taken};
use crate::backend::{Backend, Connection, Health, Site};
use crate::breaker::{self, Admission, Circuit, CircuitStatus};
use crate::error::Refusal;
use crate::op::{Lane, Op};
use crate::owner::Alone;
use crate::timer::Timer;

/// The connections of one lane on one node.
///
/// Where both are needed, `lobby` is locked before `attempts`; no caller is answered and nothing is logged under either.
pub struct Pool<B: Backend> {
    pub(super) site: Site,
    pub(super) lane: Lane,
    pub(super) config: Arc<Config>,
    pub(super) budget: Arc<Budget>,
    pub(super) store: Store<B>,
    /// Kept for the life of the pool, whatever its share is.
    pub(super) circuit: Arc<Circuit>,
    /// Every call writes there; what calls only read is not to be fetched anew each time.
    pub(super) lobby: Alone<Mutex<Queue<B>>>,
    load: Arc<Alone<AtomicU32>>,
    pub(super) attempts: Mutex<Attempts>,
    /// Signalled whenever a connection was opened or could not be.
    pub(super) settled: Notify,
    /// The one it was made on: a connection may come back on a thread that has none.
    pub(super) runtime: Handle,
    pub(super) born: Instant,
    /// Milliseconds since `born` as of the last maintenance: idle times need no finer clock.
    pub(super) coarse_ms: AtomicU64,
    /// Grows when the schema changes: what was prepared before may not fit any more.
    pub(super) plans: AtomicU64,
}

type Queue<B> = Lobby<Box<Slot<B>>, Caller<B>>;

/// A connection out of the store.
pub(super) struct Slot<B: Backend> {
    pub(super) taken: Taken<B>,
    /// Who holds it.
    pub(super) seat: Arc<Seat>,
    pub(super) idle_since_ms: u64,
    pub(super) dies_at_ms: u64,
    /// The generation of plans it was opened with.
    pub(super) plans: u64,
}

pub(super) struct Caller<B: Backend> {
    pub(super) answer: oneshot::Sender<Result<Lease<B>, Refusal>>,
    op: &'static Op,
    may_wait: bool,
}

/// What comes of asking for a connection.
enum Entered<B: Backend> {
    /// One was ready.
    Lent(Box<Slot<B>>),
    /// One will be given here.
    Waits {
        granted: oneshot::Receiver<Result<Lease<B>, Refusal>>,
        /// Those who have a connection may not bring enough back: one is to be opened, perhaps.
        opens: bool,
    },
}

impl<B: Backend> Waiter for Caller<B> {
    fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }

    fn may_wait(&self) -> bool {
        self.may_wait
    }
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
    /// Whether calls pass, and if not, why and until when.
    pub circuit: CircuitStatus,
}

impl<B: Backend> Pool<B> {
    /// A pool without connections; [`Pool::set_share`] gives it room.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(
        backend: Arc<B>,
        site: impl Into<Site>,
        lane: Lane,
        budget: Arc<Budget>,
        config: Arc<Config>,
        breaker: &breaker::Config,
    ) -> Arc<Self> {
        let (lobby, site) = (Lobby::new(), site.into());
        Arc::new(Pool {
            load: lobby.load(),
            circuit: Circuit::new(site.name(), lane, breaker),
            lane,
            store: Store::new(backend, site.clone(), lane, budget.clone(), &config),
            site,
            lobby: Alone(Mutex::new(lobby)),
            attempts: Mutex::default(),
            settled: Notify::new(),
            runtime: Handle::current(),
            born: Instant::now(),
            coarse_ms: AtomicU64::new(0),
            plans: AtomicU64::new(0),
            budget,
            config,
        })
    }

    /// The lane.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// Whether calls pass, and what is known of those that did.
    pub fn circuit(&self) -> &Arc<Circuit> {
        &self.circuit
    }

    /// Lends a connection to a call of `op`.
    ///
    /// Callers are served first come, first served. With `may_wait` false the caller is given what is free or can be opened
    /// at once, and is refused otherwise: it never waits for another caller.
    ///
    /// # Errors
    /// At once with the true cause when the circuit is open, the node cannot be reached, the queue is full or the pool is closed; after
    /// `pool.acquire_timeout`, or at `deadline`, when no connection came free.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue; a connection already on its way goes to the next caller.
    pub async fn acquire(
        self: &Arc<Self>,
        op: &'static Op,
        deadline: Instant,
        may_wait: bool,
    ) -> Result<Lease<B>, Refusal> {
        self.acquire_with(&mut Timer::default(), op, deadline, may_wait).await
    }

    /// The same, with the timer of a call that goes on waiting for something else.
    pub(crate) async fn acquire_with(
        self: &Arc<Self>,
        timer: &mut Timer<'_>,
        op: &'static Op,
        deadline: Instant,
        may_wait: bool,
    ) -> Result<Lease<B>, Refusal> {
        if !self.circuit.is_closed() {
            self.ask_circuit()?;
        }
        let granted = loop {
            match self.enter(op, may_wait)? {
                Entered::Lent(slot) => match self.lend(slot) {
                    Some(lease) => return Ok(lease),
                    None => continue,
                },
                Entered::Waits { granted, opens } => {
                    if opens {
                        self.open_wanted();
                    }
                    break granted;
                }
            }
        };
        let entered = Instant::now();
        let until = deadline.min(entered + self.config.acquire_timeout);
        match timer.limit(until, granted).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(self.closed()),
            None => Err(self.waited_in_vain(entered.elapsed())),
        }
    }

    /// Passes, or makes the test connection if it is due and nobody else does.
    #[cold]
    fn ask_circuit(self: &Arc<Self>) -> Result<(), Refusal> {
        let (closed, limit) = {
            let lobby = self.lobby.lock();
            (lobby.closed, lobby.limit)
        };
        if closed || limit == 0 {
            return Err(if closed { self.closed() } else { self.not_served() });
        }
        match self.circuit.admit() {
            Ok(Admission::Pass) => return Ok(()),
            Ok(Admission::Test(probe)) => {
                self.test(probe);
                // Whoever writes has nowhere else to go, and waits for the result; a read goes on to another node at once.
                if self.lane != Lane::Read {
                    return Ok(());
                }
            }
            Err(_) => {}
        }
        self.circuit.count_refused();
        // Closed a moment ago, it lets the caller pass.
        self.circuit_open().map_or(Ok(()), Err)
    }

    /// Lends a connection that is ready now, without waiting.
    pub fn try_acquire(self: &Arc<Self>, op: &'static Op) -> Option<Lease<B>> {
        loop {
            let slot = self.take_ready(&mut self.lobby.lock(), op)?;
            if let Some(lease) = self.lend(slot) {
                return Some(lease);
            }
        }
    }

    fn take_ready(&self, lobby: &mut Queue<B>, op: &'static Op) -> Option<Box<Slot<B>>> {
        let slot = lobby.take_ready()?;
        lobby.sit(&slot.seat, op, self.coarse_ms.load(Ordering::Relaxed));
        Some(slot)
    }

    /// Nothing, if it has died while nobody looked.
    fn lend(self: &Arc<Self>, mut slot: Box<Slot<B>>) -> Option<Lease<B>> {
        if slot.taken.connection.health() == Health::Clean {
            return Some(Lease::new(slot, self.clone()));
        }
        self.discard(slot);
        None
    }

    /// Takes what is ready, or queues the caller: one turn at the lock, which everybody wants in a busy pool.
    fn enter(&self, op: &'static Op, may_wait: bool) -> Result<Entered<B>, Refusal> {
        let mut lobby = self.lobby.lock();
        if let Some(slot) = self.take_ready(&mut lobby, op) {
            return Ok(Entered::Lent(slot));
        }
        if lobby.closed {
            return Err(self.closed());
        }
        if lobby.limit == 0 {
            return Err(self.not_served());
        }
        let room = lobby.here + lobby.opening < lobby.limit && !lobby.short_of_room;
        if !may_wait && (!room || !lobby.waiting.is_empty()) {
            return Err(self.busy());
        }
        // Nobody will bring a connection back, or it must be a new one.
        if (lobby.here == 0 || !may_wait)
            && self.circuit.is_closed()
            && let Some(refusal) = self.backing_off()
        {
            return Err(refusal);
        }
        let (answer, granted) = oneshot::channel();
        if lobby.queue(Caller { answer, op, may_wait }, self.config.max_waiting).is_err() {
            return Err(self.queue_full());
        }
        let opens = !self.circuit.is_closed() || lobby.here == 0 || lobby.wanted() > 0;
        Ok(Entered::Waits { granted, opens })
    }

    /// Gives a clean connection to the caller that has waited longest, or keeps it ready.
    pub(super) fn give(self: Arc<Self>, mut slot: Box<Slot<B>>) {
        let mut pool = self;
        loop {
            let caller = {
                let mut lobby = pool.lobby.lock();
                let now_ms = pool.coarse_ms.load(Ordering::Relaxed);
                // A busy pool's connections are never seen idle, so their age is looked at here, too.
                let worn_out = slot.dies_at_ms <= now_ms && lobby.can_spare_one();
                if lobby.closed || lobby.here > lobby.limit || worn_out {
                    drop(lobby);
                    return pool.discard(slot);
                }
                match lobby.next_waiting() {
                    Some(caller) => {
                        lobby.sit(&slot.seat, caller.op, now_ms);
                        caller
                    }
                    None => {
                        lobby.stand_up(&slot.seat);
                        slot.idle_since_ms = now_ms;
                        lobby.ready.push(slot);
                        return;
                    }
                }
            };
            // Whoever gave up after being picked hands the connection back.
            match caller.answer.send(Ok(Lease::new(slot, pool))) {
                Err(Ok(lease)) => match lease.into_held() {
                    Some(back) => (slot, pool) = back,
                    None => return,
                },
                _ => return,
            }
        }
    }

    /// Takes a connection back from a caller.
    pub(super) fn take_back(self: Arc<Self>, mut slot: Box<Slot<B>>) {
        match slot.taken.connection.health() {
            Health::Clean if slot.plans != self.plans.load(Ordering::Relaxed) => self.discard(slot),
            Health::Clean => self.give(slot),
            Health::Closed => self.discard(slot),
            Health::Busy | Health::InTransaction => self.recover(slot),
        }
    }

    /// Cancels what the last caller left running. The connection counts as in use until it is proved clean.
    fn recover(self: Arc<Self>, mut slot: Box<Slot<B>>) {
        let (runtime, pool) = (self.runtime.clone(), self);
        runtime.spawn(async move {
            // A driver that panics must not take the connection's place in the pool with it.
            let recovery = AssertUnwindSafe(slot.taken.connection.recover()).catch_unwind();
            let clean = matches!(timeout(pool.config.connect_timeout, recovery).await, Ok(Ok(true)));
            if clean && slot.taken.connection.health() == Health::Clean {
                pool.give(slot);
            } else {
                tracing::debug!(node = %pool.site.name(), lane = %pool.lane, "closed a connection whose caller went away in the middle");
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
            lobby.stand_up(&slot.seat);
        }
        drop(slot);
        self.open_wanted();
    }

    /// How many calls hold a connection or wait for one; takes no lock.
    pub fn load(&self) -> u32 {
        self.load.load(Ordering::Relaxed)
    }

    /// Whether calls are served here at all: its share is not zero.
    pub fn has_share(&self) -> bool {
        self.lobby.lock().limit > 0
    }

    /// Whether no connection is left, lent, kept or being opened.
    pub fn is_empty(&self) -> bool {
        let lobby = self.lobby.lock();
        lobby.here + lobby.opening + self.store.open() == 0
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
            last_error: self.attempts.lock().cause().map(|c| c.message.clone()),
            circuit: self.circuit.status(),
        }
    }
}

impl<B: Backend> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("node", &self.site.name()).field("lane", &self.lane).finish_non_exhaustive()
    }
}
