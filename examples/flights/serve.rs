//! Starting and stopping the service.

use std::future::Future;
use std::net::SocketAddr;

use anyhow::Context as _;
use dbopt_diesel::{Config, Db};
use tokio::net::TcpListener;

use crate::repository::Flights;
use crate::routes;

/// Where to listen.
#[derive(Debug, Clone, clap::Args)]
pub struct Listen {
    /// Address of the service.
    #[arg(long, env = "FLIGHTS_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address of the dashboard, the metrics and the health checks: a port of its own, so that it can stay private.
    #[arg(long, env = "FLIGHTS_ADMIN_LISTEN", default_value = "127.0.0.1:9090")]
    pub admin_listen: SocketAddr,
}

/// Serves until `stop` is done, then answers what has already arrived and closes the database.
///
/// # Errors
/// When an address is taken or the database configuration is wrong.
pub async fn serve(listen: &Listen, config: Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}; is another server running?"))
    };
    let service = bind(listen.listen).await?;
    let admin = bind(listen.admin_listen).await?;

    // ANCHOR: start
    let db = Db::connect(config).await?;
    let app = routes::router(Flights::new(db.clone()));
    let admin_app = dbopt_diesel::admin::router(&db);
    // ANCHOR_END: start
    tracing::info!(service = %listen.listen, admin = %listen.admin_listen, "serving");

    let (stopping, stopped) = tokio::sync::watch::channel(());
    let stopped = || {
        let mut stopped = stopped.clone();
        async move {
            let _ = stopped.changed().await;
        }
    };
    let servers = async {
        tokio::try_join!(async { axum::serve(service, app).with_graceful_shutdown(stopped()).await }, async {
            axum::serve(admin, admin_app).with_graceful_shutdown(stopped()).await
        },)
    };
    let stop = async {
        stop.await;
        tracing::info!("stopping");
        drop(stopping);
    };
    let (served, ()) = tokio::join!(servers, stop);
    db.shutdown().await;
    served.map(|_| ()).context("the server failed")
}

/// Done when the process is asked to stop: Ctrl-C, or SIGTERM from an orchestrator.
pub async fn signal() {
    let interrupt = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot listen for Ctrl-C");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            Err(error) => {
                tracing::error!(%error, "cannot listen for SIGTERM");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
