//! A connection on loan.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::lending::{Pool, Slot};
use crate::backend::Backend;

/// A connection on loan from a pool; dropping it gives it back.
///
/// A statement that is still running when it is dropped is cancelled on the server, and the connection goes to nobody
/// else before it is proved clean.
pub struct Lease<B: Backend> {
    slot: Option<Box<Slot<B>>>,
    pool: Arc<Pool<B>>,
}

impl<B: Backend> Lease<B> {
    pub(super) fn new(slot: Box<Slot<B>>, pool: Arc<Pool<B>>) -> Self {
        Lease { slot: Some(slot), pool }
    }

    /// Takes the connection out without giving it back.
    pub(super) fn into_slot(mut self) -> Option<Box<Slot<B>>> {
        self.slot.take()
    }

    /// Closes the connection instead of giving it back.
    pub fn close(mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.discard(slot);
        }
    }

    /// The pool it belongs to.
    pub fn pool(&self) -> &Arc<Pool<B>> {
        &self.pool
    }
}

impl<B: Backend> Deref for Lease<B> {
    type Target = B::Connection;

    fn deref(&self) -> &B::Connection {
        match &self.slot {
            Some(slot) => &slot.taken.connection,
            None => unreachable!("the slot is taken only by methods that consume the lease"),
        }
    }
}

impl<B: Backend> DerefMut for Lease<B> {
    fn deref_mut(&mut self) -> &mut B::Connection {
        match &mut self.slot {
            Some(slot) => &mut slot.taken.connection,
            None => unreachable!("the slot is taken only by methods that consume the lease"),
        }
    }
}

impl<B: Backend> Drop for Lease<B> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.take_back(slot);
        }
    }
}

impl<B: Backend> fmt::Debug for Lease<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("pool", &self.pool).finish()
    }
}
