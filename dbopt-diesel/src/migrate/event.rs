//! What is told while migrations run.

use std::sync::Arc;
use std::time::Duration;

use dbopt_core::schema::migration::Direction;

/// Something that happens while migrations run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// Another instance is migrating.
    Waiting {
        /// Who.
        holder: String,
    },
    /// A migration begins.
    Begun {
        /// Its name.
        name: String,
        /// Forward or back.
        direction: Direction,
        /// How many statements it has.
        statements: usize,
    },
    /// A statement begins.
    Statement {
        /// Which one, from 1.
        nth: usize,
        /// Its beginning.
        summary: String,
    },
    /// A lock was not to be had; everything was rolled back and is tried again.
    NoLock {
        /// How often it was tried.
        attempt: u32,
        /// When it is tried again.
        pause: Duration,
        /// The server's words.
        message: String,
    },
    /// What an attempt that was cut off has left behind is dealt with.
    Resumed {
        /// What was done about it.
        what: String,
    },
    /// A migration has ended.
    Done {
        /// Its name.
        name: String,
        /// Forward or back.
        direction: Direction,
        /// How long it took.
        took: Duration,
    },
    /// The replicas are waited for.
    Replicas,
    /// A way back was derived that does not lead back.
    Unproved {
        /// The migration.
        name: String,
        /// What is not as it was.
        wrong: Vec<String>,
    },
    /// Something a validation looks at.
    Checking {
        /// What.
        what: String,
    },
}

/// Whoever wants to know.
#[derive(Clone, Default)]
pub(super) struct Watch(Option<Arc<Listener>>);

type Listener = dyn Fn(&Event) + Send + Sync;

impl Watch {
    pub(super) fn new(watch: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Watch(Some(Arc::new(watch)))
    }

    pub(super) fn tell(&self, event: &Event) {
        if let Some(watch) = &self.0 {
            watch(event);
        }
        tracing::debug!(?event, "migrating");
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watch").field(&self.0.is_some()).finish()
    }
}
