//! A connection that speaks plain statements: for what needs the server's own words, with the position of an error.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "advise")]
use dbopt_core::backend::Endpoint;
use dbopt_core::backend::{ConnectError, NodeReport};
use tokio::time::timeout;
use tokio_postgres::Client;

use super::open::{LoggedIn, Opening, log_in};
use super::{Driver, apart, silent};

/// A connection for migrations and coordinators. Dropped in the middle of a statement, it has the server stop it.
#[cfg_attr(not(feature = "migrations"), allow(dead_code))] // advice and coordinators ask for neither place nor role
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) report: NodeReport,
    /// Host and port.
    pub(crate) place: String,
    _driver: Driver,
}

/// Opens one, on the database of the URL.
#[cfg(any(feature = "advise", feature = "migrations"))]
pub(crate) async fn session(url: &str, application: &'static str) -> Result<Session, ConnectError> {
    session_on(url, None, application).await
}

/// Opens one where a node is now.
#[cfg(feature = "advise")]
pub(crate) async fn session_at(endpoint: &Endpoint, application: &'static str) -> Result<Session, ConnectError> {
    let (mut opening, patience) = apart(&endpoint.url, application)?;
    if endpoint.address.is_some() {
        Arc::make_mut(&mut opening.address).at = endpoint.address;
    }
    begin(opening, patience).await
}

/// The same, on another database of that server.
pub(crate) async fn session_on(
    url: &str,
    database: Option<&str>,
    application: &'static str,
) -> Result<Session, ConnectError> {
    let (mut opening, patience) = apart(url, application)?;
    if let Some(database) = database {
        Arc::make_mut(&mut opening.address).login.dbname(database);
    }
    begin(opening, patience).await
}

async fn begin(opening: Opening, patience: Duration) -> Result<Session, ConnectError> {
    let place = opening.address.name();
    let LoggedIn { client, report, driver, .. } =
        timeout(patience, log_in(&opening)).await.unwrap_or_else(|_| Err(silent(&place, patience)))?;
    Ok(Session { client, report, place, _driver: driver })
}
