//! PostgreSQL as the runtime's backend.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use dbopt_core::backend::{Backend, ConnectError, Endpoint, Purpose};
use dbopt_core::error::Reason;
use dbopt_core::op::Lane;
use dbopt_core::query::{Insight, Place};
use parking_lot::Mutex;
use tokio_postgres::config::Host;

use crate::connect::{Address, Opening, open};
use crate::statement::StatementWatch;
use crate::{Conn, Error};

/// Opens PostgreSQL connections for the runtime.
#[derive(Default)]
pub struct Postgres {
    watch: Option<Arc<dyn StatementWatch>>,
    insight: Option<Arc<Insight>>,
    /// Parsed once per URL: those that are found in DNS share one.
    addresses: Mutex<HashMap<Arc<str>, Arc<Address>>>,
}

impl Postgres {
    /// Opens connections that tell `watch` of every statement.
    pub fn watched_by(watch: Arc<dyn StatementWatch>) -> Self {
        Postgres { watch: Some(watch), ..Postgres::default() }
    }

    /// Opens connections that tell `insight` of every statement that calls run.
    #[must_use]
    pub fn with_insight(mut self, insight: Arc<Insight>) -> Self {
        self.insight = insight.is_enabled().then_some(insight);
        self
    }

    fn address(&self, endpoint: &Endpoint) -> Result<Arc<Address>, ConnectError> {
        let parsed = self.parsed(endpoint)?;
        Ok(match endpoint.address {
            Some(at) => Arc::new(Address { at: Some(at), ..Address::clone(&parsed) }),
            None => parsed,
        })
    }

    fn parsed(&self, endpoint: &Endpoint) -> Result<Arc<Address>, ConnectError> {
        if let Some(known) = self.addresses.lock().get(&endpoint.url) {
            return Ok(known.clone());
        }
        let parsed = Address::parse(&endpoint.url).map_err(|why| ConnectError::new(Reason::Other, why))?;
        let address = Arc::new(parsed);
        self.addresses.lock().insert(endpoint.url.clone(), address.clone());
        Ok(address)
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

impl Backend for Postgres {
    type Connection = Conn;
    type Error = Error;

    fn check(&self, url: &str) -> Result<(), String> {
        Address::parse(url).map(drop)
    }

    fn place(&self, url: &str) -> Option<(String, u16)> {
        let address = Address::parse(url).ok()?;
        match address.host {
            Host::Tcp(host) => Some((host, address.port)),
            #[cfg(unix)]
            Host::Unix(_) => None,
        }
    }

    async fn connect(&self, endpoint: &Endpoint, purpose: Purpose) -> Result<Conn, ConnectError> {
        let (application, read_only, needs_primary) = match purpose {
            Purpose::Lane(Lane::Read) => ("dbopt read", true, false),
            Purpose::Lane(Lane::Write) => ("dbopt write", false, true),
            Purpose::Lane(Lane::Critical) => ("dbopt critical", false, true),
            Purpose::Probe => ("dbopt probe", false, false),
            Purpose::Analysis => ("dbopt insight", true, false),
        };
        let insight = match (purpose, &self.insight) {
            (Purpose::Lane(lane), Some(insight)) => {
                Some((insight.clone(), Place { node: endpoint.name.clone(), lane }))
            }
            _ => None,
        };
        open(Opening {
            node: endpoint.name.clone(),
            address: self.address(endpoint)?,
            read_only,
            application,
            needs_primary,
            watch: if matches!(purpose, Purpose::Lane(_)) { self.watch.clone() } else { None },
            insight,
        })
        .await
    }
}
