//! Against an echo server: what a client sees of each fault, and that it ends.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::Proxy;

/// Longer than loopback ever takes, shorter than a test may.
const SILENCE: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(10);

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    addr
}

async fn proxied() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(echo().await).await.unwrap();
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(ask(&mut client, b"hello").await.unwrap(), b"hello");
    (proxy, client)
}

async fn ask(stream: &mut TcpStream, question: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(question).await?;
    let mut answer = vec![0; question.len()];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await??;
    Ok(answer)
}

/// How the connection ended: `None` by FIN.
async fn end(stream: &mut TcpStream) -> Option<ErrorKind> {
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().err().map(|error| error.kind())
}

/// How a new connection ends. A reset can be faster than the client's look at its own connect.
async fn end_of_new(addr: SocketAddr) -> Option<ErrorKind> {
    match TcpStream::connect(addr).await {
        Ok(mut stream) => end(&mut stream).await,
        Err(error) => Some(error.kind()),
    }
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(SILENCE, stream.read_u8()).await.is_err()
}

#[tokio::test]
async fn passes_and_counts() {
    let (proxy, mut client) = proxied().await;
    assert_eq!((proxy.connections(), proxy.accepted(), proxy.bytes()), (1, 1, 10));
    // The end of one direction passes, too, and leaves the other one open.
    client.write_all(b"bye").await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "bye");
    timeout(PATIENCE, async {
        while proxy.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_delay_is_kept_in_both_directions_and_ends() {
    let (proxy, mut client) = proxied().await;
    let delay = Duration::from_millis(60);
    proxy.delay(delay);
    let began = Instant::now();
    ask(&mut client, b"slow").await.unwrap();
    let slow = began.elapsed();
    assert!(slow >= 2 * delay && slow < 10 * delay, "{slow:?}");
    proxy.heal();
    let began = Instant::now();
    ask(&mut client, b"fast").await.unwrap();
    assert!(began.elapsed() < delay);
}

#[tokio::test]
async fn a_delay_keeps_order_and_does_not_limit_throughput() {
    let (proxy, client) = proxied().await;
    proxy.delay(Duration::from_millis(100));
    let sent: Vec<u8> = (0..500_000_u32).flat_map(u32::to_be_bytes).collect();
    let began = Instant::now();
    let (mut read, mut write) = client.into_split();
    let copy = sent.clone();
    // 2 MB in small pieces: one piece per delay would take minutes.
    let writing = tokio::spawn(async move {
        for piece in copy.chunks(4096) {
            write.write_all(piece).await.unwrap();
        }
        write
    });
    let mut received = vec![0; sent.len()];
    timeout(PATIENCE, read.read_exact(&mut received)).await.unwrap().unwrap();
    assert!(received == sent, "out of order");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn a_blackhole_swallows_and_heal_ends_what_lost_bytes() {
    let (proxy, mut client) = proxied().await;
    let mut quiet = TcpStream::connect(proxy.addr()).await.unwrap();
    ask(&mut quiet, b"x").await.unwrap();
    proxy.blackhole();
    let mut late = TcpStream::connect(proxy.addr()).await.unwrap();
    client.write_all(b"lost").await.unwrap();
    late.write_all(b"lost").await.unwrap();
    assert!(is_silent(&mut client).await && is_silent(&mut late).await);
    proxy.heal();
    assert_eq!(end(&mut client).await, Some(ErrorKind::ConnectionReset));
    assert_eq!(end(&mut late).await, Some(ErrorKind::ConnectionReset));
    // Nothing was lost on this one.
    assert_eq!(ask(&mut quiet, b"fine").await.unwrap(), b"fine");
    let mut new = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(ask(&mut new, b"new").await.unwrap(), b"new");
}

#[tokio::test]
async fn a_blackhole_swallows_what_is_under_way() {
    let (proxy, mut client) = proxied().await;
    proxy.delay(SILENCE);
    client.write_all(b"under way").await.unwrap();
    proxy.blackhole();
    assert!(timeout(4 * SILENCE, client.read_u8()).await.is_err());
}

#[tokio::test]
async fn a_stall_holds_bytes_back_and_loses_none() {
    let (proxy, mut client) = proxied().await;
    proxy.stall();
    let mut late = TcpStream::connect(proxy.addr()).await.unwrap();
    client.write_all(b"held").await.unwrap();
    late.write_all(b"held").await.unwrap();
    assert!(is_silent(&mut client).await && is_silent(&mut late).await);
    proxy.heal();
    for stream in [&mut client, &mut late] {
        let mut answer = [0; 4];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"held");
    }
}

#[tokio::test]
async fn reset_and_cut_end_old_and_new_connections_each_in_its_way() {
    let (proxy, mut client) = proxied().await;
    proxy.reset();
    assert_eq!(end(&mut client).await, Some(ErrorKind::ConnectionReset));
    assert_eq!(end_of_new(proxy.addr()).await, Some(ErrorKind::ConnectionReset));

    proxy.heal();
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    ask(&mut client, b"up again").await.unwrap();
    proxy.cut();
    assert_eq!(end(&mut client).await, None);
    assert_eq!(end_of_new(proxy.addr()).await, None);

    proxy.heal();
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(ask(&mut client, b"healed").await.unwrap(), b"healed");
}

#[tokio::test]
async fn an_absent_server_and_a_dropped_proxy_are_seen_at_once() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(nobody).await.unwrap();
    assert_eq!(end_of_new(proxy.addr()).await, Some(ErrorKind::ConnectionReset));

    let (proxy, mut client) = proxied().await;
    let addr = proxy.addr();
    drop(proxy);
    let _ = end(&mut client).await;
    timeout(PATIENCE, async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
}
