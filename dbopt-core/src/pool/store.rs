//! Where connections come from and where idle ones stay: bb8, which this file alone names.
//!
//! bb8 keeps the parked connections and closes those that stay too long. Opening is done here and not by bb8, which tells
//! nobody why an attempt failed and loses count of one that panics: each attempt has its own result.

use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::budget::{Budget, Permit};
use super::config::Config;
use crate::backend::{Backend, ConnectError, Connection, Health, Purpose, Site};
use crate::error::Reason;
use crate::op::Lane;
use crate::random;

/// An open connection with its room in the budget.
pub(super) struct Open<B: Backend> {
    pub(super) connection: B::Connection,
    pub(super) dies_at: Instant,
    /// Set when it must be closed instead of being kept.
    pub(super) retired: bool,
    /// Set until it has left the store for the first time: it proves that the node can be reached.
    pub(super) new: bool,
    // Last, so that the room is free only when the connection is gone.
    _permit: Permit,
}

/// A connection taken out of the store; dropping it parks or closes it.
pub(super) type Taken<B> = bb8::PooledConnection<'static, Parked<B>>;

pub(super) struct Store<B: Backend> {
    parked: bb8::Pool<Parked<B>>,
    /// Held from seeing that something is parked until it is taken: bb8 would wait where nothing is.
    turn: Mutex<()>,
    backend: Arc<B>,
    site: Site,
    lane: Lane,
    budget: Arc<Budget>,
    /// Connections of this pool that are open or being opened, parked ones included.
    open: Arc<AtomicUsize>,
    /// The most of them there may be.
    limit: AtomicUsize,
    connect_timeout: Duration,
    max_lifetime: Duration,
    runtime: Handle,
}

impl<B: Backend> Store<B> {
    pub(super) fn new(backend: Arc<B>, site: Site, lane: Lane, budget: Arc<Budget>, config: &Config) -> Self {
        let parked_for = config.idle_timeout / 2;
        let parked = bb8::Pool::builder()
            .max_size(config.max)
            .retry_connection(false)
            .test_on_check_out(false)
            .idle_timeout(Some(parked_for))
            .reaper_rate((parked_for / 5).clamp(Duration::from_millis(50), Duration::from_secs(30)))
            .max_lifetime(None)
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .build_unchecked(Parked(PhantomData));
        Store {
            parked,
            turn: Mutex::new(()),
            backend,
            site,
            lane,
            budget,
            open: Arc::default(),
            limit: AtomicUsize::new(0),
            connect_timeout: config.connect_timeout,
            max_lifetime: config.max_lifetime,
            runtime: Handle::current(),
        }
    }

    /// Takes a parked connection or opens one.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt, so callers do not await this themselves.
    pub(super) async fn take(&self) -> Result<Taken<B>, Arc<ConnectError>> {
        match self.unpark() {
            Some(taken) => Ok(taken),
            None => self.take_new().await,
        }
    }

    /// Opens one, whatever is parked.
    ///
    /// # Cancel safety
    /// As for [`Store::take`].
    pub(super) async fn take_new(&self) -> Result<Taken<B>, Arc<ConnectError>> {
        let open = self.open_one().await.map_err(Arc::new)?;
        let turn = self.turn.lock();
        let admitted = self.parked.add(open).is_ok();
        let taken = if admitted { self.parked.get_owned().now_or_never() } else { None };
        drop(turn);
        // The budget leaves no more than bb8 was told to hold, so this is never the end of an attempt.
        taken.and_then(Result::ok).ok_or_else(|| Arc::new(ConnectError::new(Reason::Busy, "the store is full")))
    }

    /// Takes a parked connection that is still good, the one parked last; closes the others it meets.
    pub(super) fn unpark(&self) -> Option<Taken<B>> {
        loop {
            let mut taken = self.take_parked()?;
            if taken.connection.health() == Health::Clean && taken.dies_at > Instant::now() {
                return Some(taken);
            }
            taken.retired = true;
        }
    }

    fn take_parked(&self) -> Option<Taken<B>> {
        let _inside = self.runtime.enter();
        let _turn = self.turn.lock();
        if self.parked() == 0 {
            return None;
        }
        self.parked.get_owned().now_or_never()?.ok()
    }

    /// Closes parked connections while more than `keep` are open, those in use included.
    pub(super) fn close_parked(&self, keep: usize) {
        while self.open() > keep
            && let Some(mut taken) = self.take_parked()
        {
            taken.retired = true;
        }
    }

    /// Connections that idle here.
    pub(super) fn parked(&self) -> usize {
        self.parked.state().idle_connections as usize
    }

    /// Connections that are open or being opened, parked ones included.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    async fn open_one(&self) -> Result<Open<B>, ConnectError> {
        let limit = self.limit.load(Ordering::Relaxed);
        let Some(permit) = self.budget.take(&self.open, limit) else {
            return Err(ConnectError::new(Reason::Busy, "every connection of the budget is open elsewhere"));
        };
        let endpoint = self.site.endpoint();
        let connecting = AssertUnwindSafe(self.backend.connect(&endpoint, Purpose::Lane(self.lane))).catch_unwind();
        let connection = match timeout(self.connect_timeout, connecting).await {
            Ok(Ok(connected)) => connected?,
            Ok(Err(_)) => return Err(ConnectError::new(Reason::Other, "the driver panicked while connecting: a bug")),
            Err(_) => return Err(self.unanswered()),
        };
        let shortened = self.max_lifetime.mul_f64(1.0 - 0.1 * random::fraction());
        Ok(Open { connection, dies_at: Instant::now() + shortened, retired: false, new: true, _permit: permit })
    }

    fn unanswered(&self) -> ConnectError {
        let text = format!(
            "no answer within {:?} (pool.connect_timeout); the server hangs, or a firewall drops the packets",
            self.connect_timeout
        );
        ConnectError::new(Reason::ConnectTimeout, text)
    }
}

/// What bb8 is told of the connections it keeps.
pub(super) struct Parked<B>(PhantomData<fn() -> B>);

/// bb8 opens nothing here.
#[derive(Debug)]
pub(super) struct NotHere;

impl<B: Backend> bb8::ManageConnection for Parked<B> {
    type Connection = Open<B>;
    type Error = NotHere;

    async fn connect(&self) -> Result<Open<B>, NotHere> {
        Err(NotHere)
    }

    async fn is_valid(&self, _: &mut Open<B>) -> Result<(), NotHere> {
        Ok(())
    }

    fn has_broken(&self, open: &mut Open<B>) -> bool {
        open.retired || open.connection.health() != Health::Clean
    }
}
