//! Opening connections: the URL, the socket, TLS, the login, and who cancels.

mod cancel;
mod open;
#[cfg(any(feature = "advise", feature = "migrations", feature = "supervise"))]
mod session;
mod socket;
mod tls;
mod url;

use std::sync::Arc;
use std::time::Duration;

use dbopt_core::backend::ConnectError;
use dbopt_core::error::Reason;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::timeout;

pub(crate) use cancel::Canceller;
pub(crate) use open::{Opening, open};
#[cfg(any(feature = "advise", feature = "migrations", feature = "supervise"))]
pub(crate) use session::Session;
#[cfg(any(feature = "advise", feature = "migrations"))]
pub(crate) use session::session;
#[cfg(feature = "advise")]
pub(crate) use session::session_at;
#[cfg(any(feature = "migrations", feature = "supervise"))]
pub(crate) use session::session_on;
pub(crate) use url::Address;

use crate::Conn;
use crate::conn::Wire;

/// For a connection outside the pools whose URL names no `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The task that moves a connection's bytes; it ends with the connection, whatever the server is doing.
pub(crate) struct Driver {
    task: AbortHandle,
    wire: Arc<Wire>,
    canceller: Arc<Canceller>,
}

impl Driver {
    fn new(task: AbortHandle, wire: Arc<Wire>, canceller: Arc<Canceller>) -> Self {
        Driver { task, wire, canceller }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // An idle connection says goodbye by itself once its client is gone; a busy one would wait for its statement.
        if self.wire.is_busy() || self.wire.in_transaction() {
            self.task.abort();
        }
        // And the server would go on with it: it looks for its client only when it has something to send.
        if self.wire.is_busy()
            && !self.wire.is_closed()
            && let Ok(runtime) = Handle::try_current()
        {
            let canceller = self.canceller.clone();
            runtime.spawn(async move { canceller.cancel().await });
        }
    }
}

/// A connection that belongs to no pool.
pub(crate) async fn alone(url: &str) -> Result<Conn, ConnectError> {
    let (opening, patience) = apart(url, "dbopt")?;
    let place = opening.address.name();
    timeout(patience, open(opening)).await.unwrap_or_else(|_| Err(silent(&place, patience)))
}

/// What a connection outside the pools is to be, and how long opening it may take.
fn apart(url: &str, application: &'static str) -> Result<(Opening, Duration), ConnectError> {
    let address = Address::parse(url).map_err(|why| ConnectError::new(Reason::Other, why))?;
    let patience = address.login.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
    let opening = Opening {
        node: address.name().into(),
        address: Arc::new(address),
        read_only: false,
        application,
        needs_primary: false,
        watch: None,
        insight: None,
    };
    Ok((opening, patience))
}

fn silent(place: &str, patience: Duration) -> ConnectError {
    ConnectError::new(
        Reason::ConnectTimeout,
        format!(
            "{place}: no answer within {patience:?} (connect_timeout in the URL); the server hangs, or a firewall drops the packets"
        ),
    )
}
