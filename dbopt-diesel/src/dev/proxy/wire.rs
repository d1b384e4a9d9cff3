//! One proxied connection: two directions, each a line of chunks with the time at which they are due.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Faults, Mode};

/// A chunk is what one read returns; this many may be under way in a direction before the sender has to wait.
const CHUNK: usize = 16 * 1024;
const UNDER_WAY: usize = 1024;

/// How both sides of a connection shall see its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Close,
    Reset,
}

/// Lives as long as the connection. `server` is the caller's, so that it can still say how the socket is closed.
pub(super) async fn connect_and_pass(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    upstream: SocketAddr,
    faults: watch::Receiver<Faults>,
    bytes: &AtomicU64,
) -> End {
    // Set when bytes of this connection have vanished: it cannot go on after the fault.
    let holed = AtomicBool::new(false);
    let passing = async {
        if faults.borrow().mode == Mode::Blackhole {
            // Its SYN would not have come through, so the server must not see it: not even after the fault.
            holed.store(true, Ordering::Relaxed);
            return pending().await;
        }
        wait_while(&faults, Mode::Stall).await;
        let Ok(connected) = TcpStream::connect(upstream).await else { return End::Reset };
        let _ = (client.set_nodelay(true), connected.set_nodelay(true));
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.insert(connected).split();
        let there = pass(from_client, to_server, &faults, &holed, bytes);
        let back = pass(from_server, to_client, &faults, &holed, bytes);
        match tokio::try_join!(there, back) {
            Ok(_) => End::Close,
            // One side was reset, or is gone: the other side sees the same.
            Err(_) => End::Reset,
        }
    };
    tokio::select! {
        biased;
        end = ended_by_fault(faults.clone(), &holed) => end,
        end = passing => end,
    }
}

async fn ended_by_fault(mut faults: watch::Receiver<Faults>, holed: &AtomicBool) -> End {
    loop {
        match faults.borrow_and_update().mode {
            Mode::Reset => return End::Reset,
            Mode::Cut => return End::Close,
            Mode::Pass | Mode::Stall if holed.load(Ordering::Relaxed) => return End::Reset,
            Mode::Pass | Mode::Stall | Mode::Blackhole => {}
        }
        if faults.changed().await.is_err() {
            return End::Close;
        }
    }
}

/// One direction, until the sender closes it.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    faults: &watch::Receiver<Faults>,
    holed: &AtomicBool,
    bytes: &AtomicU64,
) -> io::Result<()> {
    let (line, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let read = async move {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let read = from.read_buf(&mut chunk).await;
            wait_while(faults, Mode::Stall).await;
            let read = match read {
                // A reset that does not come through either.
                Err(_) if faults.borrow().mode == Mode::Blackhole => {
                    holed.store(true, Ordering::Relaxed);
                    return pending().await;
                }
                read => read?,
            };
            let due = Instant::now() + faults.borrow().delay;
            // An empty chunk is the end of the stream: it waits in line like the others.
            if line.send((due, chunk)).await.is_err() || read == 0 {
                return io::Result::Ok(());
            }
        }
    };
    let write = async {
        while let Some((due, chunk)) = arriving.recv().await {
            tokio::time::sleep_until(due).await;
            wait_while(faults, Mode::Stall).await;
            if faults.borrow().mode == Mode::Blackhole {
                holed.store(true, Ordering::Relaxed);
            }
            if holed.load(Ordering::Relaxed) {
                continue;
            }
            if chunk.is_empty() {
                to.shutdown().await?;
            } else {
                // First, so that whoever has received a byte finds it counted.
                bytes.fetch_add(u64::try_from(chunk.len()).unwrap_or_default(), Ordering::Relaxed);
                to.write_all(&chunk).await?;
            }
        }
        // A vanished end of stream keeps the other side waiting, as a vanished host does.
        if holed.load(Ordering::Relaxed) { pending().await } else { io::Result::Ok(()) }
    };
    // `read` owns the line's only sender, so its end lets `write` run dry.
    tokio::try_join!(read, write).map(|_| ())
}

async fn wait_while(faults: &watch::Receiver<Faults>, mode: Mode) {
    // An error means that the proxy is being dropped, and this task with it.
    let _ = faults.clone().wait_for(|faults| faults.mode != mode).await;
}
