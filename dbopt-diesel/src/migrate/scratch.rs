//! A database to try migrations on, beside the real one or on a server of its own. It is dropped at the end.

use std::time::Duration;

use tokio_postgres::Client;

use super::catalog::Reader;
use super::error::{Doing, Error};
use super::lock;
use super::store::Store;
use super::target::APPLICATION;
use crate::connect::{Session, session, session_on};

/// A database that is dropped with [`Scratch::end`].
pub(super) struct Scratch {
    pub(super) session: Session,
    pub(super) store: Store,
    pub(super) reader: Reader,
    maintenance: Session,
    name: String,
}

impl Scratch {
    /// Makes one on the server of `url`.
    pub(super) async fn make(url: &str) -> Result<Scratch, Error> {
        let maintenance = session(url, APPLICATION).await.map_err(Error::Connect)?;
        let name = format!("dbopt_scratch_{}_{}", std::process::id(), stamp(&maintenance.client).await?);
        // template0 has nothing of anybody in it.
        let made = maintenance.client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        made.map_err(|error| {
            let why = error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned());
            Error::Unknown(format!(
                "no scratch database: {why}; grant CREATEDB to this user, or name another server with --staging"
            ))
        })?;
        match open(url, &name).await {
            Ok((session, store, reader)) => Ok(Scratch { session, store, reader, maintenance, name }),
            Err(error) => {
                drop(drop_database(&maintenance.client, &name).await);
                Err(error)
            }
        }
    }

    /// Drops the database.
    pub(super) async fn end(self) -> Result<(), Error> {
        let Scratch { session, maintenance, name, .. } = self;
        drop(session);
        drop_database(&maintenance.client, &name).await
    }
}

async fn open(url: &str, name: &str) -> Result<(Session, Store, Reader), Error> {
    let session = session_on(url, Some(name), APPLICATION).await.map_err(Error::Connect)?;
    lock::take(&session.client, Duration::from_secs(10), |_| {}).await?;
    let store = Store::open(&session).await?;
    store.prepare(&session.client).await?;
    let reader = Reader::prepare(&session.client).await?;
    Ok((session, store, reader))
}

/// Our own session may still be closing.
async fn drop_database(client: &Client, name: &str) -> Result<(), Error> {
    let forced = client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
    forced.doing("drop the scratch database")
}

async fn stamp(client: &Client) -> Result<String, Error> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint::text";
    Ok(super::target::one(client, sql).await.doing("ask for the time")?.unwrap_or_default())
}
