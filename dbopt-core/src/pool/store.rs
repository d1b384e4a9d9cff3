//! Where connections come from and where idle ones go: bb8, which this file alone names.
//!
//! bb8 opens each connection in a task of its own, so a caller that gives up loses nothing, and it parks and closes
//! the ones that are not needed. What callers need besides (a fair queue, the cause of a failure, shares that change) is
//! the pool's in front of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::budget::{Budget, Permit};
use super::config::Config;
use crate::backend::{Backend, ConnectError, Connection, Endpoint, Health, Purpose};
use crate::error::Reason;
use crate::op::Lane;

/// An open connection with its room in the budget.
pub(super) struct Open<B: Backend> {
    pub(super) connection: B::Connection,
    pub(super) dies_at: Instant,
    /// Set when it must be closed instead of being kept.
    pub(super) retired: bool,
    _permit: Permit,
}

/// A connection taken out of the store; dropping it parks or closes it.
pub(super) type Taken<B> = bb8::PooledConnection<'static, Opener<B>>;

pub(super) struct Store<B: Backend> {
    pool: bb8::Pool<Opener<B>>,
    shared: Arc<Shared>,
}

/// What the opener and the pool in front of it both look at.
pub(super) struct Shared {
    /// Connections of this pool that are open or being opened, parked ones included.
    open: Arc<AtomicUsize>,
    /// The most of them there may be.
    limit: AtomicUsize,
    failure: watch::Sender<Option<Arc<ConnectError>>>,
}

pub(super) struct Opener<B: Backend> {
    backend: Arc<B>,
    endpoint: Endpoint,
    lane: Lane,
    budget: Arc<Budget>,
    shared: Arc<Shared>,
    connect_timeout: Duration,
    max_lifetime: Duration,
}

/// A failed attempt, in the form bb8 wants; the cause travels through [`Shared::failure`].
#[derive(Debug)]
pub(super) struct Failed;

impl<B: Backend> Store<B> {
    pub(super) fn new(backend: Arc<B>, endpoint: Endpoint, lane: Lane, budget: Arc<Budget>, config: &Config) -> Self {
        let shared = Arc::new(Shared {
            open: Arc::default(),
            limit: AtomicUsize::new(0),
            failure: watch::Sender::new(None),
        });
        let opener = Opener {
            backend,
            endpoint,
            lane,
            shared: shared.clone(),
            connect_timeout: config.connect_timeout,
            max_lifetime: config.max_lifetime,
            budget,
        };
        let parked_for = config.idle_timeout / 2;
        let pool = bb8::Pool::builder()
            .max_size(config.max)
            .connection_timeout(config.connect_timeout * 2)
            .retry_connection(false)
            .test_on_check_out(false)
            .idle_timeout(Some(parked_for))
            .reaper_rate((parked_for / 5).clamp(Duration::from_millis(50), Duration::from_secs(30)))
            .max_lifetime(None)
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .build_unchecked(opener);
        Store { pool, shared }
    }

    /// Takes a parked connection or opens one.
    ///
    /// # Cancel safety
    /// A connection that arrives after the future was dropped is parked.
    pub(super) async fn take(&self) -> Result<Taken<B>, Arc<ConnectError>> {
        let mut failures = self.shared.failure.subscribe();
        failures.mark_unchanged();
        tokio::select! {
            biased;
            taken = self.pool.get_owned() => taken.map_err(|_| {
                Arc::new(ConnectError::new(Reason::ConnectTimeout, "no connection could be opened in time"))
            }),
            _ = failures.changed() => {
                let cause = failures.borrow().clone();
                Err(cause.unwrap_or_else(|| Arc::new(ConnectError::new(Reason::Other, "connecting failed"))))
            }
        }
    }

    /// Connections that are open or being opened, parked ones included.
    pub(super) fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.shared.limit.store(limit, Ordering::Relaxed);
    }
}

impl<B: Backend> bb8::ManageConnection for Opener<B> {
    type Connection = Open<B>;
    type Error = Failed;

    async fn connect(&self) -> Result<Open<B>, Failed> {
        self.open().await.map_err(|cause| {
            self.shared.failure.send_replace(Some(Arc::new(cause)));
            Failed
        })
    }

    async fn is_valid(&self, _: &mut Open<B>) -> Result<(), Failed> {
        Ok(())
    }

    fn has_broken(&self, open: &mut Open<B>) -> bool {
        open.retired || open.connection.health() != Health::Clean
    }
}

impl<B: Backend> Opener<B> {
    async fn open(&self) -> Result<Open<B>, ConnectError> {
        let limit = self.shared.limit.load(Ordering::Relaxed);
        let Some(permit) = self.budget.take(&self.shared.open, limit) else {
            return Err(ConnectError::new(Reason::Busy, "every connection of the budget is open elsewhere"));
        };
        let connecting = self.backend.connect(&self.endpoint, Purpose::Lane(self.lane));
        let connection = timeout(self.connect_timeout, connecting).await.unwrap_or_else(|_| {
            Err(ConnectError::new(
                Reason::ConnectTimeout,
                format!(
                    "no answer within {:?} (pool.connect_timeout); the server hangs, or a firewall drops the packets",
                    self.connect_timeout
                ),
            ))
        })?;
        let shortened = self.max_lifetime.mul_f64(1.0 - 0.1 * random());
        Ok(Open {
            connection,
            dies_at: Instant::now() + shortened,
            retired: false,
            _permit: permit,
        })
    }
}

/// A number in `0.0..1.0` for jitter; the hasher's random keys are all the randomness that needs.
pub(super) fn random() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u8) as f64 / u64::MAX as f64
}
