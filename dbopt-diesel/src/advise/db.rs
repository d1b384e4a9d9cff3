//! Advice for what an application itself has run.

use dbopt_core::query::advise::{Report, Workload};

use super::error::Error;
use super::options::{Options, advise};
use crate::Db;

impl Db {
    /// Which indexes the statements of this instance miss, with the methods that run them; on the primary, on a connection of its own. It takes
    /// seconds: call it from a tool or an admin page, not from a request.
    ///
    /// The statements are known without their values, so no index of some rows only (`WHERE state = 'open'`) is advised that depends on a value.
    ///
    /// # Errors
    /// As for [`advise`](crate::advise::advise()); and when no primary is known.
    ///
    /// # Cancel safety
    /// As for [`advise`](crate::advise::advise()).
    pub async fn advise(&self, options: &Options) -> Result<Report, Error> {
        let runtime = self.runtime();
        let topology = runtime.cluster().topology();
        let primary = topology.primary.map(|primary| topology.nodes[primary].name.clone()).ok_or(Error::NoPrimary)?;
        let nodes = runtime.config().named_nodes()?;
        let node = nodes.iter().find(|node| *node.name == *primary).ok_or(Error::NoPrimary)?;
        let workload = Workload::of_insight(&self.status().insight);
        advise(node.url.expose(), &workload, options).await
    }
}
