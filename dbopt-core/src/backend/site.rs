//! Where a node is, for all who connect to it.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Endpoint;

/// Where a node is now. That of a node which the settings name stays what it is; that of a slot changes with what is found in DNS, for
/// all who share it.
#[derive(Debug, Clone)]
pub struct Site(Arc<ArcSwap<Endpoint>>);

impl Site {
    /// What to connect to.
    pub fn endpoint(&self) -> Arc<Endpoint> {
        self.0.load_full()
    }

    /// The name used in metrics, logs and errors.
    pub fn name(&self) -> Arc<str> {
        self.0.load().name.clone()
    }

    /// Whether this is still what the node connects to.
    pub(crate) fn is_still(&self, endpoint: &Arc<Endpoint>) -> bool {
        Arc::ptr_eq(&self.0.load(), endpoint)
    }

    pub(crate) fn replace(&self, endpoint: Endpoint) {
        self.0.store(Arc::new(endpoint));
    }
}

impl From<Endpoint> for Site {
    fn from(endpoint: Endpoint) -> Self {
        Site(Arc::new(ArcSwap::from_pointee(endpoint)))
    }
}
