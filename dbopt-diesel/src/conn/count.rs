//! Statements begun and answered, so that one whose caller went away before it even left the process is noticed too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use diesel::connection::{Instrumentation, InstrumentationEvent};

/// What diesel-async has begun and finished on one connection.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    begun: AtomicU64,
    answered: AtomicU64,
}

impl Counts {
    /// Whether a statement was begun whose answer nobody waited for.
    pub(super) fn differ(&self) -> bool {
        self.begun.load(Ordering::Relaxed) != self.answered.load(Ordering::Relaxed)
    }

    /// Everything begun is known to be over.
    pub(super) fn settle(&self) {
        self.answered.store(self.begun.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The hook that counts, and passes every event on to `next`.
    pub(super) fn instrumentation(self: &Arc<Self>, next: Option<Box<dyn Instrumentation>>) -> Counting {
        Counting { counts: self.clone(), next }
    }
}

pub(super) struct Counting {
    counts: Arc<Counts>,
    next: Option<Box<dyn Instrumentation>>,
}

impl Instrumentation for Counting {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        // Events come one at a time: a plain store is enough.
        let one_more = |count: &AtomicU64| count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        match event {
            InstrumentationEvent::StartQuery { .. } => one_more(&self.counts.begun),
            InstrumentationEvent::FinishQuery { .. } => one_more(&self.counts.answered),
            _ => {}
        }
        if let Some(next) = &mut self.next {
            next.on_connection_event(event);
        }
    }
}
