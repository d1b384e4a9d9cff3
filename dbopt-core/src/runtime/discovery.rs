//! Servers that are found in DNS: looked up again and again, put into slots, taken out again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::{CONNECT, Config, Extras, Runtime};
use crate::backend::{Backend, Endpoint, Site};
use crate::cluster::{HostSourceKind, Resolver, Slots, SystemResolver, Watched};
use crate::error::{ConfigError, Error, Reason, Refusal};
use crate::op::Lane;
use crate::random;

/// How long a look-up may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks up the name that `database.discover` has.
pub(super) struct Discovery {
    url: Arc<str>,
    host: String,
    port: u16,
    every: Duration,
    resolver: Arc<dyn Resolver>,
    /// Hosts of the servers that have a URL of their own on the same port.
    named: Vec<Arc<str>>,
    /// Their names.
    taken: Vec<Arc<str>>,
    /// The place of the first slot among the nodes, and all slots' sites.
    first: usize,
    sites: Vec<Site>,
    slots: Mutex<Slots>,
    notes: Mutex<Notes>,
}

/// What is wrong, as long as it is.
#[derive(Debug, Default, PartialEq)]
struct Notes {
    failed: Option<String>,
    beyond: Option<String>,
}

impl Discovery {
    /// `None` when nothing is to be looked up.
    pub(super) fn new<B: Backend>(
        config: &Config,
        backend: &B,
        named: &[Endpoint],
        extras: &Extras,
    ) -> Result<Option<Arc<Self>>, ConfigError> {
        let database = &config.database;
        if database.discover.is_empty() {
            return Ok(None);
        }
        let url: Arc<str> = database.discover.expose().into();
        let (host, port) = match backend.place(&url) {
            Some((_, 0)) => {
                return Err(super::config_error(
                    "database.discover: no server has port 0: write the port that all servers of that name listen on, such as :5432",
                ));
            }
            Some(place) => place,
            None => {
                return Err(super::config_error(
                    "database.discover names no host that could be looked up: write it as postgres://user@replicas.internal:5432/name",
                ));
            }
        };
        let elsewhere = named.iter().filter_map(|node| backend.place(&node.url)).filter(|(_, its)| *its == port);
        let slot = |n: usize| Endpoint::new(format!("{host}:{port}#{n}"), url.clone());
        let count = database.discover_max as usize;
        Ok(Some(Arc::new(Discovery {
            named: elsewhere.map(|(host, _)| host.into()).collect(),
            taken: named.iter().map(|node| node.name.clone()).collect(),
            first: named.len(),
            sites: (1..=count).map(|n| Site::from(slot(n))).collect(),
            slots: Mutex::new(Slots::new(count)),
            every: database.discover_interval,
            resolver: extras.resolver.clone().unwrap_or_else(|| Arc::new(SystemResolver)),
            notes: Mutex::default(),
            url,
            host,
            port,
        })))
    }

    /// The first look-up, before anything runs.
    ///
    /// # Errors
    /// When nothing is found, and no other server is named.
    pub(super) async fn begin(&self) -> Result<(), Error> {
        match self.look_up().await {
            Ok(found) => self.settle(&found, |_| true).came.into_iter().for_each(|(i, ip)| self.move_in(i, ip)),
            Err(why) if self.first == 0 => {
                let detail = format!(
                    "{why}; check the host name in database.discover, and whether this machine can look it up (getent hosts {})",
                    self.host
                );
                let (node, reason) = (format!("{}:{}", self.host, self.port).into(), Reason::UnknownHost);
                let refusal = Refusal { node, lane: Lane::Read, reason, detail, retry_after: None };
                return Err(Error::Unavailable { method: CONNECT.name(), refusals: vec![refusal] });
            }
            Err(why) => self.note_failure(why),
        }
        Ok(())
    }

    pub(super) fn sites(&self) -> impl Iterator<Item = Site> + '_ {
        self.sites.iter().cloned()
    }

    /// The slots as the monitor is to know them at the start.
    pub(super) fn watched(&self) -> impl Iterator<Item = Watched> + '_ {
        self.sites.iter().map(|site| {
            let endpoint = site.endpoint();
            Watched { name: endpoint.name.clone(), place: self.place(&endpoint), vacant: endpoint.address.is_none() }
        })
    }

    /// What somebody should know.
    pub(super) fn notes(&self) -> Vec<String> {
        let notes = self.notes.lock();
        notes.failed.iter().chain(&notes.beyond).cloned().collect()
    }

    fn place(&self, endpoint: &Endpoint) -> Option<(Arc<str>, u16)> {
        endpoint.address.map(|address| (address.to_string().into(), self.port))
    }

    fn name(&self, address: IpAddr) -> Arc<str> {
        SocketAddr::new(address, self.port).to_string().into()
    }

    fn move_in(&self, slot: usize, address: IpAddr) {
        let endpoint = Endpoint { name: self.name(address), url: self.url.clone(), address: Some(address) };
        self.sites[slot].replace(endpoint);
    }

    /// The addresses of the name that no server with a URL of its own has.
    async fn look_up(&self) -> Result<Vec<IpAddr>, String> {
        let mut found =
            resolve(&*self.resolver, &self.host).await.map_err(|e| format!("{} has no address: {e}", self.host))?;
        // The same server once more under its other family would be a duplicate.
        let first = found.first().map(IpAddr::is_ipv4);
        found.retain(|address| Some(address.is_ipv4()) == first);
        // As their connections look them up. One that cannot be is found out by the monitor, should it be here, too.
        let named = join_all(self.named.iter().map(|host| resolve(&SystemResolver, host))).await;
        found.retain(|address| !named.iter().flatten().flatten().any(|its| its == address));
        found.retain(|address| !self.taken.contains(&self.name(*address)));
        // Resolvers shuffle; who gets a slot, if there are not enough, is not to depend on it.
        found.sort();
        Ok(found)
    }

    fn settle(&self, found: &[IpAddr], is_empty: impl Fn(usize) -> bool) -> crate::cluster::Changes {
        let changes = self.slots.lock().look(found, is_empty);
        let beyond = (!changes.beyond.is_empty()).then(|| {
            let names: Vec<String> = changes.beyond.iter().map(|address| self.name(*address).to_string()).collect();
            format!(
                "{} of {} found for {} are not used, as database.discover_max is {}: {}; raise it, or wait if others have just left",
                names.len(),
                found.len(),
                self.host,
                self.sites.len(),
                names.join(", ")
            )
        });
        let mut notes = self.notes.lock();
        if let Some(text) = beyond.as_ref().filter(|text| notes.beyond.as_ref() != Some(text)) {
            tracing::warn!("{text}");
        }
        if notes.failed.take().is_some() {
            tracing::info!(name = self.host, "looked up again");
        }
        notes.beyond = beyond;
        changes
    }

    /// Says it once, until a look-up succeeds.
    fn note_failure(&self, why: String) {
        let text =
            format!("the last look-up failed, so the servers found before stay in use: {why} (database.discover)");
        let before = self.notes.lock().failed.replace(text.clone());
        if before.is_none() {
            tracing::warn!("{text}");
        }
    }
}

async fn resolve(resolver: &dyn Resolver, host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    match timeout(PATIENCE, resolver.resolve(host)).await {
        Ok(Ok(found)) if found.is_empty() => Err(io::Error::other("the answer is empty")),
        Ok(answer) => answer,
        Err(_) => Err(io::Error::other(format!("no answer within {PATIENCE:?}"))),
    }
}

/// Looks up for ever.
pub(super) async fn look_again<B: Backend>(runtime: Weak<Runtime<B>>, discovery: Arc<Discovery>) {
    loop {
        sleep(discovery.every.mul_f64(0.95 + 0.1 * random::fraction())).await;
        let answer = discovery.look_up().await;
        let Some(runtime) = runtime.upgrade() else { return };
        match answer {
            Ok(found) => runtime.follow(&discovery, &found),
            Err(why) => discovery.note_failure(why),
        }
    }
}

impl<B: Backend> Runtime<B> {
    fn follow(&self, discovery: &Discovery, found: &[IpAddr]) {
        let node = |slot: usize| discovery.first + slot;
        let is_empty = |slot: usize| self.pools[node(slot)].iter().all(|pool| pool.is_empty());
        let changes = discovery.settle(found, is_empty);
        for slot in changes.left {
            // The pools follow, as they do on every change of the cluster.
            self.cluster.vacate(node(slot));
        }
        for (slot, address) in changes.came {
            let (i, before) = (node(slot), discovery.sites[slot].name());
            discovery.move_in(slot, address);
            let endpoint = discovery.sites[slot].endpoint();
            if endpoint.name != before {
                self.calls.begin_anew(i);
            }
            self.pools[i].iter().for_each(|pool| pool.begin_anew());
            self.cluster.occupy(i, endpoint.name.clone(), discovery.place(&endpoint));
            if self.config.cluster.host.source == HostSourceKind::None {
                self.cluster.host_has_no_source(i, super::hosts::NO_SOURCE);
            }
        }
    }
}
