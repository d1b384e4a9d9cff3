//! What a call does that found no connection: it waits for another attempt, if nobody else can serve it.

use tokio::time::{Instant, sleep_until};

use super::Call;
use crate::backend::{Backend, Fault};
use crate::breaker::{Circuit, Failure, waits};
use crate::context;
use crate::error::Reason;
use crate::random;
use crate::runtime::resilience::Again;

impl<B: Backend> Call<'_, B> {
    /// Makes it take what is there: it is refused rather than made to wait for another attempt to connect.
    pub(in crate::runtime) fn at_once(mut self) -> Self {
        self.patient = false;
        self
    }

    /// Waits until it makes sense to look for a connection again (R11.1): until the pool's next attempt, or the cluster has changed so that there
    /// is somewhere to go. False when waiting cannot help, the time or the retries are used up, or the caller must not wait.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub(super) async fn waits_to_look_again(&mut self) -> bool {
        let config = &self.runtime.config.retry;
        let Some(reason) = self.passing_reason() else { return false };
        if !self.patient || self.looks >= config.attempts || context::must_not_queue() {
            return false;
        }
        let now = Instant::now();
        let left = self.deadline.saturating_duration_since(now);
        let passing = self.refusals.iter().filter(|refusal| refusal.reason.may_pass());
        let rests = passing.filter_map(|refusal| refusal.retry_after).min();
        let Some(wait) = waits(config.initial, self.looks, random::fraction(), rests, left) else { return false };
        if !self.runtime.may_retry(Again::Connect(reason)) {
            return false;
        }
        tracing::debug!(
            method = self.op.name(),
            reason = reason.name(),
            ?wait,
            "no node can serve the call: waiting for another attempt"
        );
        self.looks += 1;
        self.until_somewhere_to_go(now + wait).await;
        (self.plan, self.refusals) = (None, Vec::new());
        true
    }

    async fn until_somewhere_to_go(&self, until: Instant) {
        // Not the cluster's own changes: a new primary's pools have no room before they have followed.
        let mut changes = self.runtime.resilience.followed();
        let mut nowhere = self.make_plan().get(0).is_none();
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                Ok(()) = changes.changed() => {}
            }
            let was_nowhere = std::mem::replace(&mut nowhere, self.make_plan().get(0).is_none());
            if was_nowhere && !nowhere {
                return;
            }
        }
    }

    /// Why nobody could serve it, if that may pass.
    fn passing_reason(&self) -> Option<Reason> {
        if self.refusals.is_empty() {
            let topology = self.runtime.cluster.topology();
            // Where there never was a primary, none is awaited: its URL is missing.
            let awaited = topology.primary.is_none() && topology.epoch > 0;
            return awaited.then_some(Reason::NoPrimary);
        }
        let reasons = || self.refusals.iter().map(|refusal| refusal.reason);
        if !reasons().all(|reason| reason.may_pass() || reason == Reason::CircuitOpen) {
            return None;
        }
        reasons().find(|reason| reason.may_pass())
    }

    /// Tells the circuit that the node answered.
    pub(super) fn node_answered(&self) {
        if let Some(circuit) = self.circuit() {
            circuit.answered(self.got_at);
        }
    }

    /// Tells the circuit what the call met.
    pub(super) fn node_failed(&self, fault: &Fault) {
        if let Some(circuit) = self.circuit() {
            circuit.met(fault, self.got_at);
        }
    }

    /// Tells the circuit that the node went silent.
    pub(super) fn node_lost(&self) {
        if let Some(circuit) = self.circuit() {
            circuit.failed(Failure::Loss, "the node stopped answering during a call");
        }
    }

    /// Tells the circuit that the call's time was up, which is the node's fault only if it is said to be.
    pub(super) fn node_was_slow(&self) {
        if let Some(circuit) = self.circuit() {
            circuit.unanswered(self.got_at);
        }
    }

    fn circuit(&self) -> Option<&Circuit> {
        self.at.map(|target| &**self.runtime.pool(target.node, target.lane).circuit())
    }
}
