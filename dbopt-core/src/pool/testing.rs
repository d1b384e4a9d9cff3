//! The one test connection of a circuit that is open.

use std::sync::Arc;

use super::lending::Pool;
use super::opening::Opening;
use crate::backend::Backend;
use crate::breaker::{Admission, Probe};

impl<B: Backend> Pool<B> {
    /// Makes the test if it is due and a connection is wanted, so that a pool whose callers have gone elsewhere comes back by itself.
    pub(super) fn test_if_due(self: &Arc<Self>) {
        let wanted = self.lobby.lock().wanted() > 0;
        if !wanted {
            return;
        }
        match self.circuit.admit() {
            Ok(Admission::Test(probe)) => self.test(probe),
            Ok(Admission::Pass) => self.open_wanted(),
            Err(_) => {}
        }
    }

    /// Opens the test connection. It is made on nobody's time: whoever asked for it may go away.
    pub(super) fn test(self: &Arc<Self>, probe: Probe) {
        let spared = {
            let mut lobby = self.lobby.lock();
            lobby.opening += 1;
            // A connection from before must not stand in the way of the new one.
            if lobby.here + lobby.opening > lobby.limit && !lobby.ready.is_empty() {
                lobby.here -= 1;
                Some(lobby.ready.remove(0))
            } else {
                None
            }
        };
        if let Some(mut slot) = spared {
            slot.taken.retired = true;
        }
        let opening = Opening::for_test(self.clone(), probe);
        self.runtime.spawn(opening.run());
    }
}
