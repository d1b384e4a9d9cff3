//! The development cluster: starts fast, fails on command, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails shall say where")]

mod faults;
mod remains;
mod services;
mod start;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use dbopt_diesel::dev::{Cluster, ClusterBuilder, DevError, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(20);
/// A server that has not answered by then is taken for silent.
const SILENCE: Duration = Duration::from_millis(300);

fn small() -> ClusterBuilder {
    Cluster::builder().replicas(1).redis(false)
}

async fn count(node: &Node) -> Option<String> {
    node.query_text("SELECT count(*) FROM t").await.unwrap()
}

async fn with_table(cluster: &Cluster) {
    cluster.primary().execute("CREATE TABLE t (i int)").await.unwrap();
    cluster.wait_caught_up(PATIENCE).await.unwrap();
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn ps(columns: &str) -> String {
    let output = Command::new("ps").args(["-axo", columns]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A temporary folder that the servers' user can pass through.
fn open_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

async fn redis_says(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = vec![0; 7];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Every living process that works in the cluster's folder: found another way than the guardian finds them.
fn members(dir: &Path) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let inside = processes.filter(|process| {
        let cwd = std::fs::read_link(process.path().join("cwd"));
        cwd.is_ok_and(|cwd| cwd.starts_with(dir) || cwd.to_string_lossy().starts_with(&format!("{}/", dir.display())))
    });
    inside.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect()
}

fn psql(cluster: &Cluster, url: &str, sql: &str, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(cluster.binaries().tool("psql"));
    command.args(["-X", "-A", "-t", "-w", "-d", url, "-c", sql]).envs(env.iter().copied()).output().unwrap()
}
