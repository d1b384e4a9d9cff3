//! Asks a source about one node's machine, again and again, beside everything else.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::source::{Asked, HostSample, Series, Sources};
use super::{HostConfig, exporter, proc};
use crate::backend::{Backend, Connection, Endpoint, Purpose, Site};
use crate::cluster::Cluster;
use crate::random;

/// The second sample comes early, so that the processors' share is known soon.
const SECOND: Duration = Duration::from_secs(1);

/// Asks the source about the machine of one node.
pub struct HostWatcher<B: Backend> {
    backend: Arc<B>,
    site: Site,
    node: usize,
    cluster: Arc<Cluster>,
    source: Sources,
    connection: Option<B::Connection>,
}

impl<B: Backend> HostWatcher<B> {
    pub(crate) fn new(backend: Arc<B>, site: Site, node: usize, cluster: Arc<Cluster>, source: Sources) -> Self {
        HostWatcher { backend, site, node, cluster, source, connection: None }
    }

    /// Asks for ever; ends when the future is dropped.
    pub async fn run(mut self) {
        let (cluster, mut series, mut failures) = (self.cluster.clone(), Series::default(), 0u32);
        let knobs = &cluster.config().host;
        let mut pause = Duration::ZERO;
        let mut known = self.site.endpoint();
        loop {
            sleep(pause).await;
            if cluster.is_vacant(self.node) {
                self.connection = None;
                pause = knobs.interval;
                continue;
            }
            if !self.site.is_still(&known) {
                (known, series, failures) = (self.site.endpoint(), Series::default(), 0);
                self.connection = None;
            }
            let late = || Err(format!("no answer within {:?} (cluster.host.timeout)", knobs.timeout));
            match timeout(knobs.timeout, self.sample(&known, knobs)).await.unwrap_or_else(|_| late()) {
                _ if !self.site.is_still(&known) || cluster.is_vacant(self.node) => pause = SECOND.min(knobs.interval),
                Ok(sample) => {
                    cluster.host_is(self.node, series.next(sample));
                    failures = 0;
                    pause = if pause.is_zero() { SECOND.min(knobs.interval) } else { knobs.interval };
                }
                Err(why) => {
                    self.connection = None;
                    cluster.host_is_unknown(self.node, why);
                    // A missing grant leaves a line in the server's log each time.
                    failures += 1;
                    pause = knobs.interval * (1 << failures.min(6));
                }
            }
            pause = pause.mul_f64(0.95 + 0.1 * random::fraction());
        }
    }

    async fn sample(&mut self, endpoint: &Endpoint, knobs: &HostConfig) -> Result<HostSample, String> {
        match &self.source {
            Sources::Sql => self.ask_the_server(endpoint, &knobs.query).await,
            Sources::Exporter(url) => exporter::sample(&fetch(url).await?, &knobs.mount),
            Sources::Custom(source) => {
                let host = endpoint.address.map(|address| address.to_string());
                let host = host.or_else(|| self.backend.place(&endpoint.url).map(|(host, _)| host));
                let asked = Asked { node: &endpoint.name, host: host.as_deref() };
                source.read(asked).await
            }
        }
    }

    async fn ask_the_server(&mut self, endpoint: &Endpoint, query: &str) -> Result<HostSample, String> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let fresh = self.backend.connect(endpoint, Purpose::Probe).await;
                none.insert(fresh.map_err(|error| error.message)?)
            }
        };
        match connection.host(query).await {
            Ok(Some(row)) => proc::sample(&row),
            Ok(None) => Err("this driver cannot ask the server about its machine".into()),
            Err(fault) if fault.sqlstate.is_some_and(|state| &state.0 == b"42501") => {
                Err(format!("{}: see the grants for cluster.host.source = \"sql\" in the guide", fault.message))
            }
            Err(fault) => Err(fault.message),
        }
    }
}

#[cfg(feature = "exporter")]
async fn fetch(url: &str) -> Result<String, String> {
    exporter::fetch(url).await
}

#[cfg(not(feature = "exporter"))]
async fn fetch(_: &str) -> Result<String, String> {
    Err("build dbopt with its feature `exporter`".into())
}

impl<B: Backend> std::fmt::Debug for HostWatcher<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostWatcher")
            .field("node", &self.site.name())
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
