//! `demo`: a cluster of real servers, the service on it, real traffic at the service, and what came of it.

#[path = "demo/figures.rs"]
mod figures;

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::{Config, Conn};
use diesel_async::AsyncConnection as _;
use figures::{Figures, Metrics, figures};
use flights::load::{self, JANUARY_NOW, Source};
use flights::migrate::migrate;
use flights::serve::{self, Listen};
use flights::traffic::Traffic;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Url;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;

/// Starts a primary, three replicas and the service on this machine, drives traffic at it, and shows what happened.
#[derive(Parser)]
struct Cli {
    /// How long to drive traffic.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How many users act at the same time.
    #[arg(long, default_value_t = 32)]
    users: usize,
    /// The address of the metrics. Default: port 9090 of this host where it is free, else any.
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// End after the figures, with exit code 1 if there was an error or a stale read.
    #[arg(long)]
    once: bool,
    /// Write the figures to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// The service, as a process of its own that ends when its standard input does.
    #[command(hide = true)]
    Serve(Listen),
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    if let Some(Role::Serve(listen)) = &cli.role {
        flights::log("info");
        serve::serve(listen, Config::load()?, owner_gone()).await?;
        return Ok(ExitCode::SUCCESS);
    }
    flights::log("warn");
    // Dropping the demo is what ends its servers, so Ctrl-C needs no more than this.
    tokio::select! {
        done = demo(&cli) => done,
        () = serve::signal() => Ok(ExitCode::from(130)),
    }
}

async fn demo(cli: &Cli) -> anyhow::Result<ExitCode> {
    let steps = Steps::new();
    steps.begin("starting a primary, three replicas and Redis");
    let cluster = Cluster::builder().replicas(3).start().await?;
    steps.done(&format!("{} servers started", cluster.nodes().len()));

    let primary = cluster.primary().url();
    let applied = migrate(&Config::for_urls([primary.as_str()])).await?;
    steps.done(&format!("{} migrations run", applied.len()));

    let progress = bar("loading {bar:40} {human_pos}/{human_len} flights");
    let loaded = load::load(&mut Conn::establish(&primary).await?, &Source::January, JANUARY_NOW, &progress).await?;
    progress.finish_and_clear();
    steps.done(&format!("{} flights loaded", loaded.tables.last().map_or(0, |flights| flights.written)));

    steps.begin("waiting for the replicas and the service");
    cluster.wait_caught_up(Duration::from_secs(30)).await?;
    let mut server = Server::start(&cluster, cli.admin_listen)?;
    server.ready().await?;
    steps.done(&format!("the service listens on {}", server.service));

    let traffic = Traffic { base: server.service.clone(), users: cli.users };
    let duration = Duration::from_secs(cli.seconds);
    let progress = bar("traffic {bar:40} {elapsed}  {msg}");
    progress.set_length(duration.as_millis() as u64);
    let report = traffic
        .run(duration, |now| {
            progress.set_position(now.elapsed.as_millis() as u64);
            let rate = now.requests as f64 / now.elapsed.as_secs_f64().max(0.001);
            progress.set_message(format!("{rate:.0} requests/s, {} errors", now.errors));
        })
        .await?;
    progress.finish_and_clear();
    steps.done(&format!("{} users acted for {} s", cli.users, cli.seconds));

    let metrics = server.metrics().await?;
    print!("{}", figures(&metrics, &report));
    if let Some(file) = &cli.json {
        let text = serde_json::to_string_pretty(&Figures::new(&metrics, &report))?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    if !cli.once {
        print!("{}", where_to_look(&cluster, &server));
        bail!("the service ended: {}", server.ended().await);
    }
    server.stop().await;
    cluster.stop().await?;
    Ok(if report.errors + report.stale_reads == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The service in a process of its own, so that its work and ours are not mixed up.
struct Server {
    child: Child,
    // Apart from the child, because waiting for a child closes its input.
    input: Option<ChildStdin>,
    service: Url,
    admin: Url,
    // The configuration has the servers' addresses; it and the log go with us.
    folder: TempDir,
}

impl Server {
    fn start(cluster: &Cluster, admin: Option<SocketAddr>) -> anyhow::Result<Self> {
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

    async fn ready(&mut self) -> anyhow::Result<()> {
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

    async fn metrics(&self) -> anyhow::Result<Metrics> {
        let metrics = reqwest::get(self.admin.join("metrics/json")?).await?.error_for_status()?;
        Ok(metrics.json().await?)
    }

    async fn ended(&mut self) -> String {
        let status = self.child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("{status}; its log says:\n{}", self.log())
    }

    async fn stop(mut self) {
        drop(self.input.take());
        // What has not ended by then is killed as `self` is dropped.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// Done when the process that started us is gone, however it went: then our standard input ends.
async fn owner_gone() {
    let mut rest = Vec::new();
    let _ = tokio::io::stdin().read_to_end(&mut rest).await;
}

fn where_to_look(cluster: &Cluster, server: &Server) -> String {
    let Server { service, admin, folder, .. } = server;
    let nodes: String =
        cluster.nodes().iter().map(|node| format!("  {:<10} psql '{}'\n", node.name(), node.url())).collect();
    format!(
        "\nStill serving, until Ctrl-C\n  {:<10} curl '{service}flights?origin=JFK&dest=LAX&date=2013-01-16&limit=3'\n  \
         {:<10} curl '{service}airports/JFK/board'\n  {:<10} {admin}health\n  {:<10} {admin}metrics and {admin}metrics/json\n  \
         {:<10} {}\n{nodes}",
        "search",
        "board",
        "health",
        "metrics",
        "log",
        folder.path().join("log").display(),
    )
}

/// What is being done, and what is done with the time it took.
struct Steps {
    spinner: ProgressBar,
    since: Cell<Instant>,
}

impl Steps {
    fn new() -> Self {
        Steps { spinner: ProgressBar::new_spinner(), since: Cell::new(Instant::now()) }
    }

    fn begin(&self, what: &'static str) {
        self.spinner.set_message(what);
        self.spinner.enable_steady_tick(Duration::from_millis(100));
    }

    fn done(&self, what: &str) {
        let took = self.since.replace(Instant::now()).elapsed();
        self.spinner.disable_steady_tick();
        self.spinner.suspend(|| eprintln!("{:>6.1} s  {what}", took.as_secs_f64()));
    }
}

fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
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
