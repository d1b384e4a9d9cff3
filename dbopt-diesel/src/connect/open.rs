//! From an address to a connection that is ready for calls.

use std::error::Error;
use std::future::poll_fn;
use std::sync::Arc;

use dbopt_core::backend::{ConnectError, NodeReport, Role};
use dbopt_core::error::{Reason, SqlState};
use dbopt_core::query::{Insight, Place};
use diesel_async::AsyncPgConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::NoTls;
use tokio_postgres::{AsyncMessage, Client, Connection, SimpleQueryMessage};

use super::socket::Socket;
use super::tls::{self, Negotiated, Tapped};
use super::url::Address;
use super::{Canceller, Driver};
use crate::Conn;
use crate::conn::{Parts, Tap, Wire};
use crate::probe;
use crate::statement::StatementWatch;

/// What a new connection is to be.
pub(crate) struct Opening {
    pub(crate) node: Arc<str>,
    pub(crate) address: Arc<Address>,
    pub(crate) read_only: bool,
    pub(crate) application: &'static str,
    /// Refuse a server that is in recovery.
    pub(crate) needs_primary: bool,
    pub(crate) watch: Option<Arc<dyn StatementWatch>>,
    pub(crate) insight: Option<(Arc<Insight>, Place)>,
}

/// A login that has succeeded.
pub(super) struct LoggedIn {
    pub(super) client: Client,
    pub(super) report: NodeReport,
    pub(super) wire: Arc<Wire>,
    pub(super) canceller: Arc<Canceller>,
    pub(super) driver: Driver,
}

/// Opens a connection. The caller bounds it in time; dropping the future closes what was opened.
pub(crate) async fn open(opening: Opening) -> Result<Conn, ConnectError> {
    let LoggedIn { client, report, wire, canceller, driver } = log_in(&opening).await?;
    // What is asked then is granted to everybody: a server that does not is stopping.
    let pg = AsyncPgConnection::try_from(client).await.map_err(|e| {
        ConnectError::new(Reason::Refused, format!("{}: the session cannot be set up: {e}", opening.address.name()))
    })?;
    Ok(Conn::new(Parts { pg, wire, canceller, driver, timeline: report.timeline, read_only: opening.read_only }))
}

/// Connects, logs in and asks the server what it is.
pub(super) async fn log_in(opening: &Opening) -> Result<LoggedIn, ConnectError> {
    let Opening { node, address, .. } = opening;
    let wire = Wire::new(node.clone(), opening.watch.clone(), opening.insight.clone());
    wire.is_at(&address.host(), address.port);
    let mut login = address.login.clone();
    if login.get_application_name().is_none() {
        login.application_name(opening.application);
    }
    if opening.read_only {
        let earlier = login.get_options().unwrap_or_default();
        let options = format!("{earlier} -c default_transaction_read_only=on");
        login.options(options.trim());
    }
    let socket = Socket::connect(address).await?;
    let (client, task) = match tls::negotiate(socket, address).await? {
        Negotiated::Plain(socket) => {
            let stream = Tap::new(socket, wire.clone());
            let connected = login.connect_raw(stream, NoTls).await.map_err(|e| explain(&e, address))?;
            drive(connected, wire.clone())
        }
        Negotiated::Tls(socket, connector) => {
            // The server has agreed already, so the handshake follows at once.
            login.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
            let tapped = Tapped { connector, wire: wire.clone() };
            let connected = login.connect_raw(socket, tapped).await.map_err(|e| explain(&e, address))?;
            drive(connected, wire.clone())
        }
    };
    let canceller = Arc::new(Canceller { address: address.clone(), token: client.cancel_token() });
    let driver = Driver::new(task, wire.clone(), canceller.clone());
    let report = ask(&client, address).await?;
    // What the server has said so far was not listened to.
    wire.start(report.role == Role::Replica, report.read_only);
    if opening.needs_primary && report.role == Role::Replica {
        return Err(ConnectError::new(
            Reason::WrongServer,
            format!("{}: it is a standby, and writes need the primary", address.name()),
        ));
    }
    Ok(LoggedIn { client, report, wire, canceller, driver })
}

/// Starts the task that moves the connection's bytes.
fn drive<S, T>((client, mut connection): (Client, Connection<S, T>), wire: Arc<Wire>) -> (Client, AbortHandle)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let task = tokio::spawn(async move {
        let ended = loop {
            match poll_fn(|cx| connection.poll_message(cx)).await {
                // Without its text, which may quote data.
                Some(Ok(AsyncMessage::Notice(notice))) => {
                    tracing::debug!(
                        severity = notice.severity(),
                        code = notice.code().code(),
                        "a notice of the server"
                    );
                }
                Some(Ok(_)) => {}
                Some(Err(e)) => break Some(e),
                None => break None,
            }
        };
        wire.close(ended.as_ref().map(|e| e as &dyn std::fmt::Display));
    });
    (client, task.abort_handle())
}

/// Asks the server what it is; the tap is not listening yet, so nothing of this is counted.
async fn ask(client: &Client, address: &Address) -> Result<NodeReport, ConnectError> {
    let rows = client.simple_query(probe::SQL).await.map_err(|e| explain(&e, address))?;
    rows.iter()
        .find_map(|message| match message {
            SimpleQueryMessage::Row(row) => probe::Row::from_text(row),
            _ => None,
        })
        .map(|row| row.report())
        .ok_or_else(|| ConnectError::new(Reason::Other, format!("{}: it does not say what it is", address.name())))
}

/// The reason for a failed connection, by SQLSTATE where the server gave one, with what to do about it.
pub(super) fn explain(error: &tokio_postgres::Error, address: &Address) -> ConnectError {
    let place = address.name();
    let Some(db) = error.as_db_error() else {
        return without_code(error, &place);
    };
    let code = db.code().code();
    let (reason, remedy) = match code {
        "28P01" | "28000" => {
            (Reason::Authentication, "check the user and password in the URL, and pg_hba.conf on the server")
        }
        "3D000" => (Reason::UnknownDatabase, "check the database name in the URL, or create it"),
        "53300" => (Reason::ServerFull, "lower pool.max of the instances, or raise max_connections on the server"),
        // It is stopping, was stopped in a hurry, or is starting.
        "57P01" | "57P02" | "57P03" => (Reason::NotReady, "it is tried again"),
        _ => (Reason::Other, ""),
    };
    let remedy = if remedy.is_empty() { String::new() } else { format!("; {remedy}") };
    ConnectError {
        reason,
        message: format!("{place}: {} (SQLSTATE {code}){remedy}", db.message()),
        sqlstate: code.as_bytes().try_into().ok().map(SqlState),
    }
}

/// The reason for a failure before the server gave one.
fn without_code(error: &tokio_postgres::Error, place: &str) -> ConnectError {
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let what = error.to_string();
    if what.contains("TLS") {
        return ConnectError::new(
            Reason::Tls,
            format!(
                "{place}: TLS failed: {cause}; check sslmode and sslrootcert in the URL, and the server's certificate"
            ),
        );
    }
    if what.contains("invalid configuration") || what.contains("authentication") {
        return ConnectError::new(
            Reason::Authentication,
            format!("{place}: {cause}; check the user and password in the URL, and pg_hba.conf on the server"),
        );
    }
    let io = error.source().is_some_and(|source| source.is::<std::io::Error>());
    if error.is_closed() || io && !what.contains("parsing") {
        let detail = format!(
            "{place}: the connection ended during the login ({cause}); the server is stopping, or what answers there is no \
             PostgreSQL server"
        );
        return ConnectError::new(Reason::Refused, detail);
    }
    ConnectError::new(Reason::Other, format!("{} ({cause})", no_postgres(place)))
}

pub(super) fn no_postgres(place: &str) -> String {
    format!("{place}: what answers there is no PostgreSQL server; check host and port in the URL")
}
