//! What follows when another node has become the primary: it is said, counted, and what may be lost is forgotten.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Runtime;
use crate::backend::Backend;
use crate::cluster::{Takeover, Topology};
use crate::observe::TakeoverCounts;

/// What is remembered of takeovers.
#[derive(Debug, Default)]
pub(super) struct Takeovers {
    /// The last one that was followed.
    seen: AtomicU64,
    tokens_lost: AtomicU64,
}

impl Takeovers {
    /// Counts a caller whose write was lost.
    pub(super) fn token_lost(&self) {
        self.tokens_lost.fetch_add(1, Ordering::Relaxed);
    }
}

impl<B: Backend> Runtime<B> {
    /// Follows a takeover that was not followed yet, before calls go to the new primary.
    pub(super) fn follow_takeover(&self, topology: &Topology) {
        let Some(takeover) = &topology.takeover else { return };
        if self.takeovers.seen.fetch_max(takeover.number, Ordering::AcqRel) >= takeover.number {
            return;
        }
        tracing::warn!(
            from = %takeover.from,
            to = %takeover.to,
            timeline = takeover.timeline,
            outage_seconds = takeover.outage.as_secs_f64(),
            lost_bytes = takeover.lost_bytes,
            "{}",
            in_words(takeover)
        );
        if self.config.failover.keep_cache && takeover.lost_bytes == Some(0) || !self.cache.is_enabled() {
            return;
        }
        // Whoever loads from now on sees what the new primary has.
        let position = topology.primary.and_then(|i| topology.nodes[i].position);
        self.cache.forget_here(position);
        let cache = self.cache.clone();
        self.tasks.spawn_once("forget what may be lost", async move {
            // What Redis does not take goes to the journal, and until then nothing is served from it.
            if let Err(missed) = cache.forget(position).await {
                tracing::warn!("results in Redis that may show lost writes are dropped late: {missed}");
            }
        });
    }

    pub(super) fn takeover_counts(&self) -> TakeoverCounts {
        let topology = self.cluster.topology();
        let latest = topology.takeover.as_deref();
        TakeoverCounts {
            count: latest.map_or(0, |takeover| takeover.number),
            outage_seconds: latest.map(|takeover| takeover.outage.as_secs_f64()),
            lost_bytes: latest.and_then(|takeover| takeover.lost_bytes),
            tokens_lost: self.takeovers.tokens_lost.load(Ordering::Relaxed),
        }
    }
}

/// What happened, in a sentence for people.
pub(super) fn in_words(takeover: &Takeover) -> String {
    let Takeover { from, to, outage, .. } = takeover;
    let timeline = takeover.timeline.map_or(String::new(), |timeline| format!(" on timeline {timeline}"));
    let loss = crate::alert::loss_in_words(takeover.lost_bytes);
    let back = takeover.abandoned.map_or(String::new(), |abandoned| {
        format!("; timeline regression: {abandoned} was seen before, and what was written there is lost")
    });
    format!(
        "{to} is the primary now{timeline}, in place of {from}: none for {:.1} s, {loss}{back}",
        outage.as_secs_f64()
    )
}
