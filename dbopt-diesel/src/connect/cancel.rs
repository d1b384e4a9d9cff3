//! Who stops what a connection is running.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use dbopt_core::backend::ConnectError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_postgres::CancelToken;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::open::explain;
use super::socket::Socket;
use super::tls::{self, Negotiated};
use super::url::Address;

/// Asks the server, over a connection of its own, to stop what another one is running.
pub(crate) struct Canceller {
    pub(super) address: Arc<Address>,
    pub(super) token: CancelToken,
}

const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

impl Canceller {
    /// Asks, and waits until the server has raised the cancellation: one still on its way could hit whatever the connection runs
    /// next. False when the server cannot be reached. The statement may have ended by itself.
    pub(crate) async fn cancel(&self) -> bool {
        matches!(timeout(CANCEL_TIMEOUT, self.ask()).await, Ok(Ok(())))
    }

    async fn ask(&self) -> Result<(), ConnectError> {
        let socket = Socket::connect(&self.address).await?;
        let mut stream: Box<dyn Duplex> = match tls::negotiate(socket, &self.address).await? {
            Negotiated::Plain(socket) => Box::new(socket),
            Negotiated::Tls(socket, connector) => {
                Box::new(connector.connect(socket).await.map_err(|e| tls::failed(&self.address, &e))?)
            }
        };
        let sent = self.token.cancel_query_raw(&mut *stream, Encrypted).await;
        sent.map_err(|e| explain(&e, &self.address))?;
        // The server closes the connection when it has signalled the other one's process. How it closes it does not matter.
        while stream.read(&mut [0; 16]).await.is_ok_and(|n| n > 0) {}
        Ok(())
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// Encryption, where it is wanted, is there already.
struct Encrypted;

struct Lent<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsConnect<S> for Encrypted {
    type Stream = Lent<S>;
    type Error = io::Error;
    type Future = Ready<io::Result<Lent<S>>>;

    fn connect(self, stream: S) -> Self::Future {
        ready(Ok(Lent(stream)))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Lent<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
