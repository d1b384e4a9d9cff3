//! What follows a commit: results that are no longer true, and one that is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::cache::written::Written;
use crate::cache::{Acknowledged, Cache};
use crate::position::Position;

/// A COMMIT whose sender went away may still be carried out: so long afterwards its tags are invalidated once more.
const LATE_COMMIT: Duration = Duration::from_secs(1);

/// What to do once a call has committed.
#[derive(Default)]
pub(super) struct After {
    tags: Vec<String>,
    written: Option<Box<dyn Written>>,
}

impl After {
    pub(super) fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.written.is_none()
    }

    pub(super) fn writes_a_value(&self) -> bool {
        self.written.is_some()
    }

    pub(super) fn invalidates(&mut self, tag: String) {
        if !self.tags.contains(&tag) {
            self.tags.push(tag);
        }
    }

    pub(super) fn add(&mut self, tags: Vec<String>) {
        tags.into_iter().for_each(|tag| self.invalidates(tag));
    }

    pub(super) fn writes_through(&mut self, written: Box<dyn Written>) {
        self.written = Some(written);
    }

    /// Everything that becomes untrue.
    pub(super) fn tags(&self) -> Vec<String> {
        let written = self.written.iter().flat_map(|written| written.tags());
        let mut tags: Vec<String> = self.tags.iter().chain(written).cloned().collect();
        tags.sort_unstable();
        tags.dedup();
        tags
    }

    /// Watches over the commit that is about to be tried.
    pub(super) fn unsettled(&self, cache: &Arc<Cache>) -> Unsettled {
        let tags = self.tags();
        Unsettled { cache: (!tags.is_empty()).then(|| cache.clone()), tags }
    }

    /// Tells the caches. `lower` is a position from inside the transaction, `position` the one of its commit.
    ///
    /// # Cancel safety
    /// Dropped, it leaves what was not delivered to the cache's journal.
    pub(super) async fn publish(
        &mut self,
        cache: &Cache,
        lower: Option<Position>,
        position: Option<Position>,
    ) -> Acknowledged {
        let mut tags = std::mem::take(&mut self.tags);
        let through = self.written.take();
        if let Some(written) = &through {
            // Its own invalidation does both; another one would take the new value for an old one.
            tags.retain(|tag| !written.tags().contains(tag));
        }
        let others =
            async { if tags.is_empty() { Acknowledged::Everywhere } else { cache.invalidate(&tags, position).await } };
        let value = async {
            match through {
                Some(written) => cache.write_through(written, lower.zip(position)).await,
                None => Acknowledged::Everywhere,
            }
        };
        match futures_util::future::join(others, value).await {
            (Acknowledged::Everywhere, Acknowledged::Everywhere) => Acknowledged::Everywhere,
            _ => Acknowledged::Here,
        }
    }
}

/// A commit whose outcome nobody knows yet. Dropped like that, it invalidates: what was perhaps written must not be hidden.
pub(super) struct Unsettled {
    cache: Option<Arc<Cache>>,
    tags: Vec<String>,
}

impl Unsettled {
    /// The outcome is known: the transaction was rolled back, or somebody else publishes what it changed.
    pub(super) fn settled(&mut self) {
        self.cache = None;
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        let (Some(cache), tags) = (self.cache.take(), std::mem::take(&mut self.tags)) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            cache.invalidate(&tags, None).await;
            sleep(LATE_COMMIT).await;
            cache.invalidate(&tags, None).await;
        });
    }
}

impl fmt::Debug for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("After").field("tags", &self.tags).field("writes_a_value", &self.written.is_some()).finish()
    }
}
