//! Opening connections: the URL, the socket, TLS, the login, and who cancels.

mod open;
mod socket;
mod tls;
mod url;

use std::sync::Arc;
use std::time::Duration;

use dbopt_core::backend::ConnectError;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::CancelToken;
use tokio_postgres::tls::NoTls;

pub(crate) use open::{Opening, open};
pub(crate) use url::Address;

use crate::Conn;
use socket::Socket;
use tls::Negotiated;

/// Asks the server, over a connection of its own, to stop what another one is running.
pub(crate) struct Canceller {
    address: Arc<Address>,
    token: CancelToken,
}

const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

impl Canceller {
    /// Asks; false when the server cannot be reached. The statement may have ended by itself.
    pub(crate) async fn cancel(&self) -> bool {
        let asked = timeout(CANCEL_TIMEOUT, async {
            let socket = Socket::connect(&self.address).await?;
            match tls::negotiate(socket, &self.address).await? {
                Negotiated::Plain(socket) => self.token.cancel_query_raw(socket, NoTls).await,
                Negotiated::Tls(socket, tls) => self.token.cancel_query_raw(socket, tls).await,
            }
            .map_err(|e| open::explain(&e, &self.address))
        });
        matches!(asked.await, Ok(Ok(())))
    }
}

/// The task that moves a connection's bytes; it ends with the connection, whatever the server is doing.
pub(crate) struct Driver {
    task: AbortHandle,
    wire: Arc<crate::conn::Wire>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // An idle connection says goodbye by itself once its client is gone; a busy one would wait for its statement.
        if self.wire.is_busy() || self.wire.in_transaction() {
            self.task.abort();
        }
    }
}

/// A connection that belongs to no pool.
pub(crate) async fn alone(url: &str) -> Result<Conn, ConnectError> {
    let address = Address::parse(url).map_err(|why| ConnectError::new(dbopt_core::error::Reason::Other, why))?;
    open(Opening {
        node: address.name().into(),
        address: Arc::new(address),
        read_only: false,
        application: "dbopt",
        needs_primary: false,
        watch: None,
    })
    .await
}
