//! How many calls of one method run at once, for methods that say so: a slow one then leaves connections to the others.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::Call;
use crate::backend::Backend;
use crate::context;
use crate::error::{Error, Reason, Refusal};
use crate::op::Op;

/// The room that each method has left, by its id.
#[derive(Default)]
pub(super) struct Bulkheads(RwLock<HashMap<usize, Arc<Semaphore>>>);

impl Bulkheads {
    fn of(&self, op: &'static Op, room: u32) -> Arc<Semaphore> {
        if let Some(known) = self.0.read().get(&op.id()) {
            return known.clone();
        }
        self.0.write().entry(op.id()).or_insert_with(|| Arc::new(Semaphore::new(room as usize))).clone()
    }
}

impl fmt::Debug for Bulkheads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bulkheads").field(&self.0.read().len()).finish()
    }
}

impl<B: Backend> Call<'_, B> {
    /// Waits for its turn among the calls of its method, in the order of their coming, as long as for a connection at most. It
    /// keeps its place when its body is run again.
    ///
    /// # Cancel safety
    /// Dropping the future gives its place in the queue to the next.
    pub(super) async fn take_turn(&mut self) -> Result<(), Error> {
        let Some(room) = self.op.concurrency_limit() else { return Ok(()) };
        if self.turn.is_some() {
            return Ok(());
        }
        let room_left = self.runtime.bulkheads.of(self.op, room);
        let patience = self.runtime.config.pool.acquire_timeout;
        let until = self.deadline().min(Instant::now() + patience);
        let turn = match room_left.clone().try_acquire_owned() {
            Ok(turn) => Some(turn),
            Err(_) if context::must_not_queue() => None,
            // It is never closed.
            Err(_) => timeout_at(until, room_left.acquire_owned()).await.ok().and_then(Result::ok),
        };
        self.turn = turn;
        if self.turn.is_some() { Ok(()) } else { Err(self.no_turn(room)) }
    }

    fn no_turn(&self, room: u32) -> Error {
        let refusal = Refusal {
            node: "every node".into(),
            lane: self.op.lane(),
            reason: Reason::MethodBusy,
            detail: format!("{room} calls of it run already (max_concurrent = {room}), and none ended in time"),
            retry_after: None,
        };
        Error::Unavailable { method: self.op.name(), refusals: vec![refusal] }
    }
}

/// A place among the calls of a method.
pub(super) type Turn = OwnedSemaphorePermit;
