//! Advice for what an application itself has run.

use dbopt_core::backend::Endpoint;
use dbopt_core::query::advise::{Advising, Advisor, Report, Workload};

use super::error::Error;
use super::options::{APPLICATION, Options, advise, look};
use crate::Db;
use crate::connect::session_at;

/// What the runtime asks from time to time: verified by HypoPG, or by nobody.
#[derive(Debug)]
pub(crate) struct Background;

impl Advisor for Background {
    fn advise<'a>(&'a self, primary: &'a Endpoint, workload: &'a Workload) -> Advising<'a> {
        let look = async move {
            let session = session_at(primary, APPLICATION).await.map_err(Error::Connect)?;
            look(session, workload, &Options::default()).await
        };
        Box::pin(async move { look.await.map_err(|error| error.to_string()) })
    }
}

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
