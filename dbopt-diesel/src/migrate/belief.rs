//! Whether the cluster still believes the primary that is migrated: one that was left behind by a failover may live on.

use std::fmt;
use std::sync::Arc;

use super::error::Error;

/// Who is asked; without anybody it is not doubted.
#[derive(Clone, Default)]
pub(super) struct Belief(Option<Arc<Question>>);

/// What speaks against it.
type Question = dyn Fn() -> Option<String> + Send + Sync;

impl Belief {
    pub(super) fn asking(question: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Belief(Some(Arc::new(question)))
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        match self.0.as_ref().and_then(|question| question()) {
            Some(doubt) => Err(Error::NoPrimary(doubt)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Belief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Belief").field(&self.0.is_some()).finish()
    }
}
