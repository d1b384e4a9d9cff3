//! The socket under a connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use dbopt_core::backend::ConnectError;
use dbopt_core::error::Reason;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_postgres::config::Host;

use super::url::Address;

/// TCP, or a Unix socket.
pub(crate) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// After this long without an answer from the peer's kernel a connection is given up; keepalives alone do not run while data is
/// unacknowledged.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

impl Socket {
    pub(crate) async fn connect(address: &Address) -> Result<Socket, ConnectError> {
        match &address.host {
            Host::Tcp(host) => Socket::tcp(host, address).await,
            #[cfg(unix)]
            Host::Unix(folder) => {
                let path = folder.join(format!(".s.PGSQL.{}", address.port));
                let stream = UnixStream::connect(&path).await.map_err(|e| {
                    ConnectError::new(Reason::Refused, format!("{}: {e}; is the server running there?", path.display()))
                })?;
                Ok(Socket::Unix(stream))
            }
            #[cfg(not(unix))]
            Host::Unix(_) => Err(ConnectError::new(Reason::Other, "this platform has no Unix sockets")),
        }
    }

    async fn tcp(host: &str, address: &Address) -> Result<Socket, ConnectError> {
        let place = address.name();
        let found: Vec<_> = match address.at {
            Some(at) => vec![SocketAddr::new(at, address.port)],
            None => tokio::net::lookup_host((host, address.port))
                .await
                .map_err(|e| {
                    ConnectError::new(Reason::UnknownHost, format!("{place}: {e}; check the host name in the URL"))
                })?
                .collect(),
        };
        let mut last = ConnectError::new(Reason::UnknownHost, format!("{place}: the host name has no address"));
        for one in found {
            match TcpStream::connect(one).await {
                Ok(stream) => {
                    configure(&stream, address).map_err(|e| {
                        ConnectError::new(Reason::Other, format!("{place}: cannot set up the socket: {e}"))
                    })?;
                    return Ok(Socket::Tcp(stream));
                }
                Err(e) => {
                    let reason = match e.kind() {
                        io::ErrorKind::TimedOut
                        | io::ErrorKind::HostUnreachable
                        | io::ErrorKind::NetworkUnreachable => Reason::ConnectTimeout,
                        _ => Reason::Refused,
                    };
                    last = ConnectError::new(reason, format!("{place}: {e}; is the server running there?"));
                }
            }
        }
        Err(last)
    }
}

fn configure(stream: &TcpStream, address: &Address) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let login = &address.login;
    if login.get_keepalives() {
        let idle = login.get_keepalives_idle().min(Duration::from_secs(60));
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(Duration::from_secs(5)))?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(login.get_tcp_user_timeout().copied().unwrap_or(USER_TIMEOUT)))?;
    Ok(())
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut *$self {
            Socket::Tcp($stream) => $call,
            #[cfg(unix)]
            Socket::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
