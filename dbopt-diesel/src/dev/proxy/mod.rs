//! A TCP proxy that misbehaves on command.

#[cfg(test)]
mod tests;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::error::DevError;
use super::ports;

/// Stands before one server and passes bytes on, late or not at all when told so.
///
/// It runs on a thread and a clock of its own: a busy or a paused test runtime does not slow it down, and its delays are
/// real. Dropping it closes its port and all its connections.
///
/// The faults exclude each other: each call replaces the one before, [`heal`](Self::heal) ends it. Only
/// [`delay`](Self::delay) stays in force beside the others.
///
/// | call | connections that exist | new ones | like |
/// |---|---|---|---|
/// | `delay` | each chunk that much later, in order | too | a far data centre |
/// | `stall` | nothing passes; all of it does after `heal` | accepted, silent | a short network partition |
/// | `blackhole` | bytes vanish; reset by `heal` | accepted, silent | a firewall that drops, a host that is gone |
/// | `reset` | end by RST | end by RST | a crashed host that is back |
/// | `cut` | end by FIN | end by FIN | a server shutting down, a load balancer without servers |
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    upstream: SocketAddr,
    faults: watch::Sender<Faults>,
    counters: Arc<Counters>,
    /// Dropped with us: ends the thread.
    _alive: oneshot::Sender<()>,
}

/// What the proxy does to its connections right now.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    mode: Mode,
    delay: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Pass,
    Stall,
    Blackhole,
    Reset,
    Cut,
}

#[derive(Debug, Default)]
struct Counters {
    open: AtomicUsize,
    accepted: AtomicU64,
    bytes: AtomicU64,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and passes every connection on to `upstream`, which need not be up yet:
    /// while it is not, connections to the proxy are reset.
    ///
    /// # Errors
    /// When no port is free, or the thread cannot be started.
    pub async fn start(upstream: SocketAddr) -> Result<Self, DevError> {
        let doing = || DevError::io(format!("start a proxy for {upstream}"));
        let (listener, port) = ports::listen()?;
        listener.set_nonblocking(true).map_err(doing())?;
        let (faults, seen) = watch::channel(Faults::default());
        let counters = Arc::new(Counters::default());
        let (alive, ended) = oneshot::channel();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(doing())?;
        let work = accept(listener, upstream, seen, Arc::clone(&counters));
        std::thread::Builder::new()
            .name("dbopt-dev proxy".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! { _ = ended => {}, () = work => {} }
                });
                // Without waiting for anything: dropping the runtime drops the connections.
                runtime.shutdown_background();
                ports::give_back(port);
            })
            .map_err(doing())?;
        Ok(Self { port, upstream, faults, counters, _alive: alive })
    }

    /// Where to connect.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The port of [`addr`](Self::addr).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the connections go.
    pub fn upstream(&self) -> SocketAddr {
        self.upstream
    }

    /// Every chunk arrives this much later, in each direction (so a round trip takes twice that), in order and without
    /// limiting how many are under way. Zero ends it.
    pub fn delay(&self, delay: Duration) {
        self.faults.send_modify(|faults| faults.delay = delay);
    }

    /// Nothing passes, and nothing is lost: what is written meanwhile arrives after [`heal`](Self::heal).
    pub fn stall(&self) {
        self.set(Mode::Stall);
    }

    /// Connections are accepted and stay open, and all bytes vanish, those under way too. A connection that lost some is
    /// reset by [`heal`](Self::heal), because its stream has a hole.
    pub fn blackhole(&self) {
        self.set(Mode::Blackhole);
    }

    /// All connections end by RST, and so does each new one, until [`heal`](Self::heal).
    pub fn reset(&self) {
        self.set(Mode::Reset);
    }

    /// All connections are closed, and so is each new one, until [`heal`](Self::heal).
    pub fn cut(&self) {
        self.set(Mode::Cut);
    }

    /// Ends every fault, the delay included.
    pub fn heal(&self) {
        self.faults.send_replace(Faults::default());
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.counters.open.load(Ordering::Relaxed)
    }

    /// How many connections have ever been accepted.
    pub fn accepted(&self) -> u64 {
        self.counters.accepted.load(Ordering::Relaxed)
    }

    /// How many bytes have been passed on, both directions together.
    pub fn bytes(&self) -> u64 {
        self.counters.bytes.load(Ordering::Relaxed)
    }

    fn set(&self, mode: Mode) {
        self.faults.send_modify(|faults| faults.mode = mode);
    }
}

async fn accept(
    listener: std::net::TcpListener,
    upstream: SocketAddr,
    faults: watch::Receiver<Faults>,
    counters: Arc<Counters>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    counters.accepted.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(serve(client, upstream, faults.clone(), Arc::clone(&counters)));
                }
                // Out of file descriptors, most likely: give others the time to close some.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Counts a connection for as long as it lives, however its task ends.
struct Open(Arc<Counters>);

impl Open {
    fn new(counters: Arc<Counters>) -> Self {
        counters.open.fetch_add(1, Ordering::Relaxed);
        Self(counters)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(mut client: TcpStream, upstream: SocketAddr, faults: watch::Receiver<Faults>, counters: Arc<Counters>) {
    let open = Open::new(counters);
    let mut server = None;
    let end = wire::connect_and_pass(&mut client, &mut server, upstream, faults, &open.0.bytes).await;
    if end == wire::End::Reset {
        let _ = client.set_zero_linger();
        if let Some(server) = &server {
            let _ = server.set_zero_linger();
        }
    }
}
