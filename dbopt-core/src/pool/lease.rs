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
pub struct Lease<B: Backend>(Option<Held<B>>);

/// The connection, and the pool it goes back to: both go on to the next caller, so that the pool is not held once more for each of them.
type Held<B> = (Box<Slot<B>>, Arc<Pool<B>>);

impl<B: Backend> Lease<B> {
    pub(super) fn new(slot: Box<Slot<B>>, pool: Arc<Pool<B>>) -> Self {
        Lease(Some((slot, pool)))
    }

    /// Takes the connection out without giving it back.
    pub(super) fn into_held(mut self) -> Option<Held<B>> {
        self.0.take()
    }

    /// Closes the connection instead of giving it back.
    pub fn close(mut self) {
        if let Some((slot, pool)) = self.0.take() {
            pool.discard(slot);
        }
    }
}

impl<B: Backend> Deref for Lease<B> {
    type Target = B::Connection;

    fn deref(&self) -> &B::Connection {
        match &self.0 {
            Some((slot, _)) => &slot.taken.connection,
            None => unreachable!("the connection is taken out only by methods that consume the lease"),
        }
    }
}

impl<B: Backend> DerefMut for Lease<B> {
    fn deref_mut(&mut self) -> &mut B::Connection {
        match &mut self.0 {
            Some((slot, _)) => &mut slot.taken.connection,
            None => unreachable!("the connection is taken out only by methods that consume the lease"),
        }
    }
}

impl<B: Backend> Drop for Lease<B> {
    fn drop(&mut self) {
        if let Some((slot, pool)) = self.0.take() {
            pool.take_back(slot);
        }
    }
}

impl<B: Backend> fmt::Debug for Lease<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.0.as_ref().map(|(_, pool)| pool)).finish()
    }
}
