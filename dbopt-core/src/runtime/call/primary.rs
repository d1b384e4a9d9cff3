//! What a call does that needs the primary while there is none: it waits for the next one. Nothing of it was sent.

use std::pin::pin;

use tokio::time::{Instant, sleep_until};

use super::Call;
use crate::backend::Backend;
use crate::context::{self, Context};
use crate::error::{Error, Reason, Refusal, Waiting};
use crate::op::{Intent, Lane};

impl<B: Backend> Call<'_, B> {
    /// Waits until there is a primary that may serve the call; false where that is not what it lacks, or it must not wait.
    ///
    /// # Errors
    /// When as many wait as may, or the call's time is up.
    ///
    /// # Cancel safety
    /// Dropping the future gives its place away.
    pub(super) async fn waits_for_a_primary(&mut self) -> Result<bool, Error> {
        let runtime = self.runtime;
        let room = &runtime.waiting_room;
        if !room.is_open() || !self.patient || context::must_not_queue() || !self.lacks_a_primary() {
            return Ok(false);
        }
        let Some(seat) = room.enter(self.op.lane() == Lane::Critical) else { return Err(self.too_many_wait()) };
        tracing::debug!(method = self.op.name(), "no primary can serve the call: it waits for the next one");
        let mut looks_again = Instant::now();
        while !self.may_go() {
            // A loss that nobody told of must not keep it waiting.
            looks_again += runtime.config.cluster.probe_interval;
            let called = pin!(seat.called());
            if self.may_go() {
                break;
            }
            tokio::select! {
                biased;
                () = called => {}
                () = sleep_until(looks_again.min(self.deadline)) => {}
            }
            if Instant::now() >= self.deadline {
                self.refusals = self.refusals_of_all();
                return Err(self.out_of_time(Waiting::Primary));
            }
        }
        (self.plan, self.refusals) = (None, Vec::new());
        Ok(true)
    }

    /// Whether the call can run on the primary alone.
    fn insists_on_the_primary(&self) -> bool {
        self.op.intent() == Intent::Write
            || self.op.lane() != Lane::Read
            || self.op.wants_primary()
            || self.primary_only
            || self.context.as_ref().is_some_and(Context::needs_primary)
            // No replica has what its caller has written: those that may have were asked.
            || self.wished().is_some()
    }

    /// Whether it found nobody because the primary is gone, or about to be found gone, and another node may take its place.
    fn lacks_a_primary(&self) -> bool {
        let topology = self.runtime.cluster.topology();
        if !self.insists_on_the_primary() || topology.epoch == 0 || topology.nodes().nth(1).is_none() {
            return false;
        }
        // A name that has no address any more is that of a server that is gone.
        let may_pass = |refusal: &Refusal| !refusal.reason.is_permanent() || refusal.reason == Reason::UnknownHost;
        self.refusals.iter().all(may_pass) && !self.may_go()
    }

    /// Whether a primary is known that neither calls nor the monitor have doubts about, and its pools know it too.
    fn may_go(&self) -> bool {
        let cluster = &self.runtime.cluster;
        let ready = |primary| !cluster.is_suspect(primary) && self.runtime.pool(primary, self.op.lane()).has_share();
        cluster.topology().primary.is_some_and(ready)
    }

    fn too_many_wait(&self) -> Error {
        let refusal = Refusal {
            node: "every node".into(),
            lane: self.op.lane(),
            reason: Reason::QueueFull,
            detail: format!(
                "there is no primary, and {} calls wait for one already (failover.wait_limit)",
                self.runtime.waiting_room.limit()
            ),
            retry_after: Some(self.runtime.config.cluster.probe_interval),
        };
        let mut refusals = self.refusals_of_all();
        refusals.push(refusal);
        Error::Unavailable { method: self.op.name(), refusals }
    }
}

#[cfg(test)]
#[path = "primary/tests.rs"]
mod tests;
