//! Why a caller gets nothing: each reason with the numbers that belong to it.

use std::time::Duration;

use tokio::time::Instant;

use super::lending::Pool;
use crate::backend::Backend;
use crate::error::{Reason, Refusal};
use crate::op::Lane;

impl<B: Backend> Pool<B> {
    pub(super) fn refusal(&self, reason: Reason, detail: impl Into<String>, retry_after: Option<Duration>) -> Refusal {
        Refusal { node: self.site.name(), lane: self.lane, reason, detail: detail.into(), retry_after }
    }

    pub(super) fn closed(&self) -> Refusal {
        self.refusal(Reason::Closed, "the pool is closed", None)
    }

    /// The share is zero: the node is not, or no longer, the one for this lane.
    pub(super) fn not_served(&self) -> Refusal {
        match self.lane {
            Lane::Read => self.refusal(Reason::NotReady, "no reads are sent to this node now", None),
            _ => self.refusal(Reason::NoPrimary, "this node is not the primary", None),
        }
    }

    pub(super) fn busy(&self) -> Refusal {
        let detail = "no connection is free, and the caller holds another one, so it must not wait";
        self.refusal(Reason::Busy, detail, None)
    }

    /// The reason when no attempt is to be made now, and nothing is parked either.
    pub(super) fn backing_off(&self) -> Option<Refusal> {
        let (wait, cause) = {
            let attempts = self.attempts.lock();
            (attempts.wait(Instant::now())?, attempts.cause()?.clone())
        };
        if self.store.parked() > 0 {
            return None;
        }
        let detail = format!("the last attempt to connect failed ({})", cause.message);
        Some(self.refusal(Reason::BackingOff, detail, Some(wait)))
    }

    /// The reason while the circuit is open.
    pub(super) fn circuit_open(&self) -> Option<Refusal> {
        let refused = self.circuit.refusing()?;
        let cause = refused.cause.as_deref().unwrap_or("it failed too often");
        let detail = format!("the circuit is open ({cause})");
        Some(self.refusal(Reason::CircuitOpen, detail, Some(refused.retry_after)))
    }

    pub(super) fn queue_full(&self) -> Refusal {
        let detail = format!(
            "{} callers are waiting already (pool.max_waiting); the statements are too slow or the pool too small",
            self.config.max_waiting
        );
        self.refusal(Reason::QueueFull, detail, None)
    }

    pub(super) fn waited_in_vain(&self, waited: Duration) -> Refusal {
        let status = self.status();
        let mut detail = format!(
            "no connection came free within {waited:?}: {} of {} are in use, {} other callers wait",
            status.in_use, status.max, status.waiting
        );
        if self.lobby.lock().short_of_room {
            detail.push_str(&format!("; all {} of the budget (pool.max) are open elsewhere", self.budget.max()));
        }
        if let Some(cause) = status.last_error {
            detail.push_str(&format!("; the last attempt to connect failed ({cause})"));
        }
        self.refusal(Reason::AcquireTimeout, detail, None)
    }
}
