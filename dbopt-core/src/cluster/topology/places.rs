//! Which node a replica means by the address that it receives from. Pure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::Upstream;

/// How long a name is not looked up again.
const HOLDS: Duration = Duration::from_secs(60);

/// The same for a name that was not found.
const FAILURE_HOLDS: Duration = Duration::from_secs(10);

/// Where the nodes are, and what names resolve to, as far as that is known.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Places {
    /// Host and port of every node's URL, in the order of the configuration; `None` for a socket of this machine.
    nodes: Vec<Option<(Arc<str>, u16)>>,
    resolved: HashMap<Arc<str>, Resolved>,
}

/// What a name resolved to when that was last asked.
#[derive(Debug)]
struct Resolved {
    again: Instant,
    addresses: Vec<IpAddr>,
}

impl Places {
    pub(in crate::cluster) fn new(nodes: Vec<Option<(Arc<str>, u16)>>) -> Self {
        Places { nodes, resolved: HashMap::new() }
    }

    /// Notes that a node is somewhere else now, or nowhere.
    pub(in crate::cluster) fn place(&mut self, node: usize, place: Option<(Arc<str>, u16)>) {
        self.nodes[node] = place;
    }

    /// The names whose addresses are needed to find `upstream`, and are not known or may have changed.
    pub(in crate::cluster) fn unresolved(&self, upstream: &Upstream, now: Instant) -> Vec<Arc<str>> {
        if self.nodes.iter().flatten().any(|(host, port)| *host == upstream.host && *port == upstream.port) {
            return Vec::new();
        }
        let hosts = self.nodes.iter().flatten().map(|(host, _)| host).chain([&upstream.host]);
        let is_due = |host: &Arc<str>| self.resolved.get(host).is_none_or(|known| known.again <= now);
        let open = |host: &&Arc<str>| host.parse::<IpAddr>().is_err() && is_due(host);
        hosts.filter(open).cloned().collect()
    }

    /// Notes what a name resolves to. A look-up that found nothing takes nothing away.
    pub(in crate::cluster) fn note(&mut self, host: Arc<str>, addresses: Vec<IpAddr>, now: Instant) {
        let known = self.resolved.entry(host).or_insert(Resolved { again: now, addresses: Vec::new() });
        known.again = now + if addresses.is_empty() { FAILURE_HOLDS } else { HOLDS };
        if !addresses.is_empty() {
            known.addresses = addresses;
        }
    }

    /// The node at this address. `listens` tells on which port a node's server listens, whatever port its URL leads through.
    pub(super) fn find(&self, upstream: &Upstream, listens: impl Fn(usize) -> Option<u16>) -> Option<usize> {
        let is_there = |(i, place): (usize, &Option<(Arc<str>, u16)>)| {
            let (host, port) = place.as_ref()?;
            let same_port = upstream.port == *port || Some(upstream.port) == listens(i);
            (same_port && self.same_host(host, &upstream.host)).then_some(i)
        };
        self.nodes.iter().enumerate().find_map(is_there)
    }

    fn same_host(&self, one: &Arc<str>, other: &Arc<str>) -> bool {
        one == other || self.addresses(one).iter().any(|address| self.addresses(other).contains(address))
    }

    fn addresses(&self, host: &Arc<str>) -> Vec<IpAddr> {
        match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.resolved.get(host).map(|known| known.addresses.clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(nodes: &[(&str, u16)]) -> Places {
        Places::new(nodes.iter().map(|(host, port)| Some((Arc::from(*host), *port))).collect())
    }

    fn upstream(host: &str, port: u16) -> Upstream {
        Upstream { host: host.into(), port }
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_may_use_another_name_for_the_same_address() {
        let now = Instant::now();
        let mut places = places(&[("db1", 5432), ("db2", 5432)]);
        let asked = upstream("10.0.0.2", 5432);
        assert_eq!(places.find(&asked, |_| None), None);
        assert_eq!(places.unresolved(&asked, now), ["db1", "db2"].map(Arc::<str>::from));
        places.note("db1".into(), vec!["10.0.0.1".parse().unwrap()], now);
        places.note("db2".into(), vec!["10.0.0.2".parse().unwrap()], now);
        assert_eq!(places.find(&asked, |_| None), Some(1));
        assert!(places.unresolved(&upstream("db2", 5432), now).is_empty());
        assert_eq!(places.find(&upstream("db2", 5432), |_| None), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_looked_up_again_and_a_failure_takes_nothing_away() {
        let now = Instant::now();
        let mut places = places(&[("db1", 5432)]);
        let asked = upstream("10.0.0.1", 5432);
        places.note("db1".into(), Vec::new(), now);
        assert!(places.unresolved(&asked, now).is_empty());
        let later = now + FAILURE_HOLDS;
        assert_eq!(places.unresolved(&asked, later), [Arc::<str>::from("db1")]);
        places.note("db1".into(), vec!["10.0.0.1".parse().unwrap()], later);
        assert!(places.unresolved(&asked, later + FAILURE_HOLDS).is_empty());
        assert_eq!(places.unresolved(&asked, later + HOLDS), [Arc::<str>::from("db1")]);
        places.note("db1".into(), Vec::new(), later + HOLDS);
        assert_eq!(places.find(&asked, |_| None), Some(0));
        places.note("db1".into(), vec!["10.0.0.9".parse().unwrap()], later + HOLDS);
        assert_eq!(places.find(&asked, |_| None), None, "it is somebody else's address now");
    }

    #[test]
    fn a_pooler_before_the_server_does_not_hide_it() {
        let places = places(&[("10.0.0.1", 6432), ("10.0.0.2", 6432)]);
        assert_eq!(places.find(&upstream("10.0.0.2", 5432), |_| Some(5432)), Some(1));
        assert_eq!(places.find(&upstream("10.0.0.2", 5433), |_| Some(5432)), None);
    }
}
