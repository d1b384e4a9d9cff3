//! A stream that shows every message passing over it to a [`Wire`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use super::frames::Frames;
use super::pending::Moment;
use super::wire::Wire;

/// A stream whose messages are watched.
pub(crate) struct Tap<S> {
    stream: S,
    wire: Arc<Wire>,
    from_server: Frames,
    from_client: Frames,
}

impl<S> Tap<S> {
    pub(crate) fn new(stream: S, wire: Arc<Wire>) -> Self {
        Tap { stream, wire, from_server: Frames::default(), from_client: Frames::default() }
    }

    fn sent(&mut self, bytes: &[u8]) {
        let wire = &self.wire;
        let read =
            self.from_client.feed(bytes, |kind| wire.wanted_from_client(kind), |kind, body| wire.sent(kind, body));
        if read.is_err() {
            wire.close(Some(&"what was sent is not the PostgreSQL protocol"));
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        let (wire, mut now) = (&self.wire, Moment::default());
        let seen = |kind, body: &[u8]| wire.received(kind, body, &mut now);
        let read = self.from_server.feed(bytes, |kind| wire.wanted_from_server(kind), seen);
        if read.is_err() {
            wire.close(Some(&"what arrived is not the PostgreSQL protocol"));
        }
    }

    fn wrote(&mut self, result: &io::Result<usize>, bytes: &[u8]) {
        match result {
            Ok(n) if self.wire.is_active() => self.sent(&bytes[..*n]),
            Ok(_) => {}
            Err(e) => self.wire.close(Some(e)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        match &result {
            Ok(()) if buf.filled().len() == before => self.wire.close(None),
            Ok(()) if self.wire.is_active() => self.received(&buf.filled()[before..]),
            Ok(()) => {}
            Err(e) => self.wire.close(Some(e)),
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.wrote(&result, bytes);
        Poll::Ready(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        match &result {
            Ok(written) if self.wire.is_active() => {
                let mut left = *written;
                for slice in slices {
                    let part = left.min(slice.len());
                    self.sent(&slice[..part]);
                    left -= part;
                }
            }
            Ok(_) => {}
            Err(e) => self.wire.close(Some(e)),
        }
        Poll::Ready(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Tap<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}
