//! The service that the demo starts beside its cluster.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::bail;
use dbopt_diesel::dev::Cluster;
use reqwest::Url;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;

use crate::figures::Metrics;

/// The service in a process of its own, so that its work and ours are not mixed up.
pub(crate) struct Server {
    child: Child,
    // Apart from the child, because waiting for a child closes its input.
    input: Option<ChildStdin>,
    pub(crate) service: Url,
    pub(crate) admin: Url,
    // The configuration has the servers' addresses; it and the log go with us.
    pub(crate) folder: TempDir,
}

impl Server {
    pub(crate) fn start(cluster: &Cluster, admin: Option<SocketAddr>) -> anyhow::Result<Self> {
        let (service, admin) = (address(8080)?, admin.map_or_else(|| address(9090), Ok)?);
        let folder = tempfile::tempdir()?;
        let nodes = cluster.nodes().iter().map(|node| json!({ "name": node.name(), "url": node.url() }));
        let redis = cluster.redis().map(|redis| redis.url()).unwrap_or_default();
        let config = json!({ "database": { "nodes": nodes.collect::<Vec<_>>() }, "cache": { "redis": redis } });
        let config = toml::to_string(&config)?;
        write_private(&folder.path().join("dbopt.toml"), &config)?;

        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg("--listen").arg(service.to_string()).arg("--admin-listen").arg(admin.to_string());
        // Whatever the user has set for an application of his own is not for this one.
        std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("DBOPT_")).for_each(
            |name| {
                command.env_remove(name);
            },
        );
        command.env("DBOPT_CONFIG", folder.path().join("dbopt.toml"));
        command.stdin(Stdio::piped()).stderr(std::fs::File::create(folder.path().join("log"))?);
        // It is told to end by the end of its input, not by the Ctrl-C that is meant for us.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.kill_on_drop(true).spawn()?;
        let input = child.stdin.take();
        let url = |address: SocketAddr| format!("http://{address}/").parse();
        Ok(Server { child, input, service: url(service)?, admin: url(admin)?, folder })
    }

    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                bail!("the service did not start: {}", self.ended().await);
            }
            let health = reqwest::get(self.admin.join("health/ready")?).await;
            if health.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the service was not ready after 30 s; its log says:\n{}", self.log())
    }

    pub(crate) async fn metrics(&self) -> anyhow::Result<Metrics> {
        let metrics = reqwest::get(self.admin.join("metrics/json")?).await?.error_for_status()?;
        Ok(metrics.json().await?)
    }

    pub(crate) async fn ended(&mut self) -> String {
        let status = self.child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("{status}; its log says:\n{}", self.log())
    }

    pub(crate) async fn stop(mut self) {
        drop(self.input.take());
        // What has not ended by then is killed as `self` is dropped.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// The usual port where it is free, so that people find it; else any.
fn address(usual: u16) -> anyhow::Result<SocketAddr> {
    let at = |port| TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)));
    Ok(at(usual).or_else(|_| at(0))?.local_addr()?)
}

fn write_private(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    std::io::Write::write_all(&mut options.open(file)?, text.as_bytes())?;
    Ok(())
}
