//! What happened, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        #[derive(Debug, Default)]
        pub(super) struct Counters { $(pub(super) $name: Count,)+ }

        /// Counts since the start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)+ }

        impl Counters {
            pub(super) fn read(&self) -> Counts {
                Counts { $($name: self.$name.0.load(Relaxed),)+ }
            }
        }
    };
}

#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Relaxed);
    }

    pub(super) fn one(&self) {
        self.add(1);
    }
}

counters! {
    /// Look-ups that found a current value.
    hits,
    /// Look-ups that found nothing.
    absent,
    /// Values of an earlier epoch or generation.
    outdated,
    /// Values of another key under the same hash.
    collisions,
    /// Values of another shape, or that could not be read.
    unreadable,
    /// Strong look-ups that a silent writer turned into misses.
    distrusted,
    /// Look-ups not made because an invalidation of a tag is still to be delivered.
    held,
    /// Values stored.
    stored,
    /// Fills not stored because a tag moved meanwhile.
    fenced,
    /// Fills not stored because the value is too large.
    too_large,
    /// Operations that ran out of time.
    timed_out,
    /// Operations refused at once, as Redis is too slow or many wait.
    refused,
    /// Operations that found no connection.
    down,
    /// Operations that Redis refused.
    server_errors,
    /// Invalidations delivered.
    invalidated,
    /// Invalidations that went to the journal first.
    journalled,
    /// Commands that look-ups were gathered into.
    batches,
    /// Connections made.
    connects,
    /// Writers forgotten after a long silence.
    forgotten,
}
