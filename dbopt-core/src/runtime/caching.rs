//! The cache by hand: invalidating, clearing, warming.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Runtime;
use crate::backend::Backend;
use crate::cache::store::CacheStatus;
use crate::cache::{Acknowledged, Pattern, l2};
use crate::op::Lane;

/// The cache of an instance, by hand.
pub struct Caching<'a, B: Backend> {
    runtime: &'a Arc<Runtime<B>>,
}

/// What warming came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Warmed {
    /// Calls that returned Ok.
    pub succeeded: usize,
    /// Calls that returned an error.
    pub failed: usize,
    /// How long it took.
    pub took: Duration,
}

impl<B: Backend> Runtime<B> {
    /// The cache, by hand.
    pub fn caching(self: &Arc<Self>) -> Caching<'_, B> {
        Caching { runtime: self }
    }
}

impl<B: Backend> Caching<'_, B> {
    /// Makes every result with one of these tags unservable, on all instances: for changes that dbopt did not make.
    ///
    /// # Cancel safety
    /// Dropping it leaves the rest to the journal.
    pub async fn invalidate_tags<T: Into<String>>(&self, tags: impl IntoIterator<Item = T>) -> Acknowledged {
        let tags: Vec<String> = tags.into_iter().map(Into::into).collect();
        let position = self.runtime.locate().await;
        self.runtime.cache.invalidate(&tags, position).await
    }

    /// Makes every result unservable whose tag, or key of its own, matches: `*` stands for any text, everything else for itself.
    /// Returns how many names Redis knew, or without Redis how many results were in memory.
    ///
    /// # Errors
    /// For an empty pattern, and when Redis could not be asked: this instance's memory is done then, the rest is not.
    ///
    /// # Cancel safety
    /// A part may have been done; repeating it is harmless.
    pub async fn invalidate_pattern(&self, pattern: &str) -> Result<u64, PatternError> {
        let pattern = checked(pattern)?;
        let position = self.runtime.locate().await;
        Ok(self.runtime.cache.invalidate_pattern(&pattern, position, false).await?)
    }

    /// How many [`Caching::invalidate_pattern`] would find. Changes nothing.
    ///
    /// # Errors
    /// For an empty pattern, and when Redis could not be asked.
    pub async fn count_pattern(&self, pattern: &str) -> Result<u64, PatternError> {
        Ok(self.runtime.cache.invalidate_pattern(&checked(pattern)?, None, true).await?)
    }

    /// Forgets everything, on all instances.
    ///
    /// # Errors
    /// When Redis could not be asked: this instance's memory is empty then, the rest is not.
    pub async fn clear(&self) -> Result<(), l2::Missed> {
        let position = self.runtime.locate().await;
        self.runtime.cache.clear(position).await
    }

    /// Makes calls ahead of those who will ask: each item of `calls` is the call of a cached method (5.5). It uses the share
    /// `cache.warming_share` of the read connections at once; `progress` is told after each call how many are done.
    ///
    /// # Cancel safety
    /// What was loaded stays.
    pub async fn warm<S, F, T, E>(&self, calls: S, mut progress: impl FnMut(usize)) -> Warmed
    where
        S: Stream<Item = F>,
        F: Future<Output = Result<T, E>>,
    {
        let began = Instant::now();
        let mut warmed = Warmed { succeeded: 0, failed: 0, took: Duration::ZERO };
        let mut under_way = std::pin::pin!(calls.buffer_unordered(self.width()));
        while let Some(result) = under_way.next().await {
            match result {
                Ok(_) => warmed.succeeded += 1,
                Err(_) => warmed.failed += 1,
            }
            progress(warmed.succeeded + warmed.failed);
        }
        Warmed { took: began.elapsed(), ..warmed }
    }

    /// Warms now and then every `period`, until the instance is shut down: for queries whose time is known to come.
    ///
    /// `calls` gives what to call each time; what is still in the cache is not loaded again.
    pub fn warm_every<S, F, T, E>(&self, period: Duration, mut calls: impl FnMut() -> S + Send + 'static)
    where
        S: Stream<Item = F> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let runtime = Arc::downgrade(self.runtime);
        let work = async move {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(runtime) = runtime.upgrade() else { return };
                let warmed = runtime.caching().warm(calls(), |_| ()).await;
                if warmed.failed > 0 {
                    tracing::warn!(
                        failed = warmed.failed,
                        succeeded = warmed.succeeded,
                        "not all of the cache was warmed"
                    );
                }
            }
        };
        self.runtime.tasks.spawn("warm the cache", work);
    }

    fn width(&self) -> usize {
        let pools = self.runtime.pools.iter().map(|lanes| lanes[Lane::Read.index()].status().max);
        ((pools.sum::<usize>() as f64 * self.runtime.config.cache.warming_share) as usize).max(1)
    }

    /// What the cache did so far.
    pub fn status(&self) -> CacheStatus {
        self.runtime.cache.status()
    }
}

impl<B: Backend> fmt::Debug for Caching<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.runtime.cache.fmt(f)
    }
}

/// Why nothing, or not everything, was invalidated.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The pattern is empty.
    #[error("an empty pattern names nothing: write `flight:*`, or call `clear` for everything")]
    Empty,
    /// Redis could not be asked.
    #[error("{0}; this instance's memory is done, repeat it for the others")]
    Redis(#[from] l2::Missed),
}

fn checked(pattern: &str) -> Result<Pattern, PatternError> {
    if pattern.trim().is_empty() {
        return Err(PatternError::Empty);
    }
    Ok(Pattern::new(pattern))
}
