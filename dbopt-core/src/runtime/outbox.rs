//! The outbox: what a write invalidates is noted in its own transaction, and delivered by whoever finds it left there.
//!
//! A process that is killed between COMMIT and Redis leaves its row. Every instance looks for rows that are older than a delivery
//! takes, and delivers them before it removes them.

use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use super::{Attempt, Call, Runtime};
use crate::backend::{Backend, Connection, Fault};
use crate::cache::Acknowledged;
use crate::error::Error;
use crate::op::{Intent, Op};

static OUTBOX: Op = Op::new("Db::outbox", Intent::Write);

/// Between two looks.
const EVERY: Duration = Duration::from_millis(250);

/// Rows taken at once.
const TOGETHER: u32 = 500;

/// Rows that were delivered and may be removed.
#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<Vec<i64>>);

impl Outbox {
    pub(super) fn delivered(&self, row: i64) {
        self.0.lock().push(row);
    }
}

/// Removes what was delivered, and delivers what others left.
pub(super) async fn look_after<B: Backend>(runtime: Weak<Runtime<B>>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut troubled = false;
    loop {
        ticks.tick().await;
        let Some(runtime) = runtime.upgrade() else { return };
        let done = runtime.empty_outbox().await;
        if let (Err(error), false) = (&done, troubled) {
            tracing::warn!("the cache's outbox cannot be looked after: {error}");
        }
        troubled = done.is_err();
    }
}

impl<B: Backend> Runtime<B> {
    /// Makes the table where it is wanted and missing.
    pub(super) async fn make_outbox(self: &Arc<Self>) -> Result<(), Error> {
        if !self.config.cache.outbox || self.cluster.topology().primary.is_none() {
            return Ok(());
        }
        let mut call = self.call(&OUTBOX);
        let mut lease = call.find_connection().await?;
        let made = call.run(async { lease.make_outbox().await.map_err(Ended::Fault) }).await;
        let made: Attempt<Result<(), Ended<B::Error>>> = made;
        let ended = call.finish_once(lease, made).await;
        ended.map_err(|ended| ended.told(&call, "make the table dbopt_cache_outbox (or make it by hand, see the book)"))
    }

    async fn empty_outbox(self: &Arc<Self>) -> Result<(), Error> {
        if self.cluster.topology().primary.is_none() {
            return Ok(());
        }
        let delivered = std::mem::take(&mut *self.outbox.0.lock());
        let mut call = self.call(&OUTBOX);
        let mut lease = call.find_connection().await?;
        let work = async {
            if !delivered.is_empty() {
                lease.remove_notes(&delivered).await.map_err(Ended::Fault)?;
            }
            let left = lease.take_notes(self.config.cache.outbox_age, TOGETHER).await.map_err(Ended::Fault)?;
            if left.is_empty() {
                return Ok(());
            }
            tracing::info!(tags = left.len(), "delivering invalidations that their writer left in the outbox");
            let position = lease.log_end().await.ok();
            // Not removed before they are delivered: if Redis is lost, the transaction is rolled back.
            match self.cache.invalidate(&left, position).await {
                Acknowledged::Everywhere => Ok(()),
                Acknowledged::Here => Err(Ended::Undelivered),
            }
        };
        // With the call's deadline: a frozen primary must not hold this loop.
        let result: Attempt<Result<(), Ended<B::Error>>> = call.run(work).await;
        match call.finish_once(lease, result).await {
            Ok(()) | Err(Ended::Undelivered) => Ok(()),
            Err(ended) => Err(ended.told(&call, "look after the table dbopt_cache_outbox")),
        }
    }
}

/// How work on the outbox ended, other than well.
enum Ended<E> {
    Fault(Fault),
    Undelivered,
    /// dbopt's own refusal; the call knows it, too.
    Refused(PhantomData<E>),
}

impl<E> Ended<E> {
    fn told<B: Backend>(self, call: &Call<'_, B>, doing: &'static str) -> Error {
        let (message, sqlstate) = match self {
            Ended::Fault(fault) => (fault.message, fault.sqlstate),
            Ended::Undelivered => ("Redis did not take it".to_owned(), None),
            Ended::Refused(_) => match call.own_error() {
                Some(error) => return error.clone(),
                None => ("its transaction failed".to_owned(), None),
            },
        };
        Error::Database { method: OUTBOX.name(), node: "the primary".to_owned(), doing, message, sqlstate }
    }
}

impl<E> From<E> for Ended<E> {
    fn from(error: E) -> Self {
        drop(error);
        Ended::Refused(PhantomData)
    }
}
