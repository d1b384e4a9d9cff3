//! `demo`: a cluster of real servers, the service on it, real traffic at the service, and what came of it.

#[path = "demo/figures.rs"]
mod figures;
#[path = "demo/rate.rs"]
mod rate;
#[path = "demo/server.rs"]
mod server;
#[path = "demo/steps.rs"]
mod steps;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::{Config, Conn};
use diesel_async::AsyncConnection as _;
use figures::{Figures, figures};
use flights::load::{self, JANUARY_NOW, Source};
use flights::migrate::migrate;
use flights::serve::{self, Listen};
use flights::traffic::Traffic;
use server::Server;
use steps::{Steps, bar};
use tokio::io::AsyncReadExt;

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
    /// Requests at a rate, whether or not earlier ones are answered, and how long they took.
    Load(rate::Load),
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
    let work = async {
        match &cli.role {
            Some(Role::Load(load)) => rate::run(load).await,
            _ => demo(&cli).await,
        }
    };
    // Dropping the demo is what ends its servers, so Ctrl-C needs no more than this.
    tokio::select! {
        done = work => done,
        () = serve::signal() => Ok(ExitCode::from(130)),
    }
}

/// A cluster with the flights of a January, and the service on it.
async fn stage(admin: Option<SocketAddr>, steps: &Steps) -> anyhow::Result<(Cluster, Server)> {
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
    let mut server = Server::start(&cluster, admin)?;
    server.ready().await?;
    steps.done(&format!("the service listens on {}", server.service));
    Ok((cluster, server))
}

async fn demo(cli: &Cli) -> anyhow::Result<ExitCode> {
    let steps = Steps::new();
    let (cluster, mut server) = stage(cli.admin_listen, &steps).await?;

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
