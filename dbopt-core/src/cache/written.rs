//! Values that a write leaves behind, and what must not slip in while it is made known.

use super::fence::{Fences, Snapshot};
use super::l2::Invalidated;
use super::lookup::Lookup;
use super::method::Codec;
use super::store::{Acknowledged, Cache};
use crate::position::Position;

/// A value that a write is about to commit, for the cached method that would read it.
pub trait Written: Send + Sync {
    /// What the cached entry depends on.
    fn tags(&self) -> &[String];
    /// How the tags stood when the value was made.
    fn began(&self) -> &Snapshot;
    /// Stores it under the snapshot and ticket that its own invalidation gave.
    fn keep(self: Box<Self>, snapshot: Snapshot, done: Option<Invalidated>, position: Option<Position>);
}

/// The same for results of type `T`.
pub struct NewValue<T, C> {
    lookup: Lookup<T, C>,
    began: Snapshot,
    value: T,
    is_none: bool,
}

impl<T, C> NewValue<T, C>
where
    T: Clone + Send + Sync + 'static,
    C: Codec<T>,
{
    /// The value for what `lookup` asks.
    pub fn new(lookup: Lookup<T, C>, value: T, is_none: bool) -> Self {
        NewValue { began: lookup.cache.fences.snapshot(&lookup.tags), lookup, value, is_none }
    }
}

impl<T, C> Written for NewValue<T, C>
where
    T: Clone + Send + Sync + 'static,
    C: Codec<T>,
{
    fn tags(&self) -> &[String] {
        &self.lookup.tags
    }

    fn began(&self) -> &Snapshot {
        &self.began
    }

    fn keep(self: Box<Self>, snapshot: Snapshot, done: Option<Invalidated>, position: Option<Position>) {
        self.lookup.keep_written(&self.value, snapshot, done, position, self.is_none);
    }
}

impl Cache {
    /// Invalidates the tags of a value that a write has committed, and stores the value if nobody can have written a later one.
    /// `between` are a position from inside the write's transaction and the one of its commit.
    ///
    /// # Cancel safety
    /// Dropping it leaves the invalidation to the journal, and stores nothing.
    pub async fn write_through(
        &self,
        written: Box<dyn Written>,
        between: Option<(Position, Position)>,
    ) -> Acknowledged {
        let (lower, upper) = between.unzip();
        self.placed(upper);
        let snapshot = self.fences.invalidate_for_write(written.tags(), written.began(), between);
        let gap = self.gap(Behind::Tags(written.tags()));
        let (acknowledged, done) = self.deliver(written.tags(), upper, lower).await;
        let snapshot = Gap::end_for_write(gap, snapshot);
        if let (Some(snapshot), Some(position)) = (snapshot, upper) {
            written.keep(snapshot, done, Some(position));
        }
        acknowledged
    }
}

/// The time in which memory has heard of a change and Redis, or the journal, has not. A look-up in that time takes its snapshot
/// after the change, and may find in Redis what was before; so the fences are raised again at its end, however it ends and before
/// the change is acknowledged.
pub(super) struct Gap<'a> {
    fences: &'a Fences,
    behind: Behind<'a>,
}

/// What a change makes untrue.
#[derive(Clone, Copy)]
pub(super) enum Behind<'a> {
    Tags(&'a [String]),
    Everything,
    Nothing,
}

impl<'a> Gap<'a> {
    pub(super) fn new(fences: &'a Fences, behind: Behind<'a>) -> Self {
        Gap { fences, behind }
    }

    /// Ends it, and gives the snapshot to store the new value under, if nobody changed anything since `snapshot`.
    pub(super) fn end_for_write(gap: Option<Self>, snapshot: Option<Snapshot>) -> Option<Snapshot> {
        let Some(mut gap) = gap else { return snapshot };
        let (snapshot, Behind::Tags(tags)) = (snapshot?, gap.behind) else { return None };
        gap.behind = Behind::Nothing;
        gap.fences.invalidate_for_write(tags, &snapshot, None)
    }
}

impl Drop for Gap<'_> {
    fn drop(&mut self) {
        match self.behind {
            Behind::Tags(tags) => self.fences.invalidate(tags, None),
            Behind::Everything => self.fences.invalidate_all(None),
            Behind::Nothing => {}
        }
    }
}
