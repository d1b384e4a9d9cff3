//! What a call does that found no connection: it waits for another attempt, if nobody else can serve it.

use tokio::time::{Instant, sleep_until};

use super::Call;
use crate::backend::{Backend, Fault};
use crate::breaker::{Circuit, Failure, waits};
use crate::context;
use crate::error::{Reason, Refusal};
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
        let resting = self.refusals.iter().filter(|refusal| refusal.reason != Reason::CircuitOpen);
        let rests = resting.filter_map(|refusal| refusal.retry_after).min();
        let Some(wait) = waits(config.initial, self.looks, random::fraction(), rests, left) else { return false };
        // A call pays for its first wait: pools attempt to connect once for all who wait, however often they look.
        if self.waited {
            self.runtime.retries(Again::Connect(reason));
        } else if !self.runtime.may_retry(Again::Connect(reason)) {
            return false;
        }
        self.waited = true;
        tracing::debug!(
            method = self.op.name(),
            reason = reason.name(),
            ?wait,
            "no node can serve the call: waiting for another attempt"
        );
        // A change of the cluster is a new situation: only waits that ended without one are counted.
        if !self.somewhere_to_go_before(now + wait).await {
            self.looks += 1;
        }
        (self.plan, self.refusals) = (None, Vec::new());
        true
    }

    /// Waits until there is somewhere to go where there was nowhere before; false when that has not happened until then.
    async fn somewhere_to_go_before(&self, until: Instant) -> bool {
        // Not the cluster's own changes: a new primary's pools have no room before they have followed.
        let mut changes = self.runtime.resilience.followed();
        let mut nowhere = self.make_plan().get(0).is_none();
        loop {
            tokio::select! {
                () = sleep_until(until) => return false,
                Ok(()) = changes.changed() => {}
            }
            let was_nowhere = std::mem::replace(&mut nowhere, self.make_plan().get(0).is_none());
            if was_nowhere && !nowhere {
                return true;
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
        let known = |refusal: &Refusal| refusal.reason.may_pass() || refusal.reason == Reason::CircuitOpen;
        if !self.refusals.iter().all(known) {
            return None;
        }
        self.refusals.iter().find(|refusal| self.may_pass(refusal)).map(|refusal| refusal.reason)
    }

    /// Whether a node may serve soon that did not. An open circuit is waited for only if it is tested before the call's next look, or if
    /// the monitor is about to say what the matter is.
    fn may_pass(&self, refusal: &Refusal) -> bool {
        if refusal.reason != Reason::CircuitOpen {
            return refusal.reason.may_pass();
        }
        let step = self.runtime.config.retry.initial.saturating_mul(1 << self.looks.min(10));
        let cluster = &self.runtime.cluster;
        let node = cluster.topology().nodes.iter().position(|node| node.name == refusal.node);
        refusal.retry_after.is_some_and(|wait| wait <= step) || node.is_some_and(|node| cluster.is_suspect(node))
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
