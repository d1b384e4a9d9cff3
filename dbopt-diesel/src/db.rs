//! An application's access to its cluster.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use dbopt_core::cluster::{HostSource, Resolver};
use dbopt_core::op::Op;
use dbopt_core::query::Insight;
use dbopt_core::query::advise::Advisor;
use dbopt_core::runtime::{AsyncFnOnceRef, AsyncFnRef, Caching, Extras, History, Runtime, Status};

use crate::statement::StatementWatch;
use crate::{Config, Conn, Error, Postgres};

/// An application's access to its cluster; clones share one set of pools.
#[derive(Clone, Debug)]
pub struct Db {
    runtime: Arc<Runtime<Postgres>>,
}

impl Db {
    /// Checks the settings, asks every node what it is, and opens the minimum of connections (4.5).
    ///
    /// A node that does not answer is left out until it does; only when none answers there is an error.
    ///
    /// # Errors
    /// For settings that cannot be used, and when no node can be reached: each one's cause is listed.
    pub async fn connect(config: Config) -> Result<Db, Error> {
        Db::builder(config).connect().await
    }

    /// The same with what settings cannot say: see [`DbBuilder`].
    pub fn builder(config: Config) -> DbBuilder {
        DbBuilder { config, backend: Postgres::default(), extras: Extras::default() }
    }

    /// The same, telling `watch` of every statement that any method runs.
    ///
    /// # Errors
    /// As for [`Db::connect`].
    pub async fn connect_watched(config: Config, watch: impl StatementWatch) -> Result<Db, Error> {
        Db::builder(config).watched_by(watch).connect().await
    }

    /// Runs `body` in one transaction on the primary: committed when it returns Ok, rolled back when it returns an error.
    ///
    /// ```no_run
    /// # use dbopt_diesel::prelude::*;
    /// # use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
    /// # async fn example(db: Db) -> diesel::QueryResult<()> {
    /// db.transaction(async |tx| {
    ///     tx.batch_execute("UPDATE seats SET taken = true WHERE id = 7").await?;
    ///     diesel::sql_query("INSERT INTO bookings (seat) VALUES (7)").execute(tx).await?;
    ///     diesel::QueryResult::Ok(())
    /// }).await
    /// # }
    /// ```
    ///
    /// Repository methods join it by their second form, `<name>_in(tx, ..)`; their first form would use another connection and is
    /// refused inside.
    ///
    /// # Errors
    /// The body's own, or what kept it from running or committing.
    ///
    /// # Cancel safety
    /// Dropping the future rolls back, except during COMMIT, where the outcome stays unknown.
    pub fn transaction<'a, T, E, F>(&'a self, body: F) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        for<'c> F: AsyncFnOnce(&'c mut Conn) -> Result<T, E>
            + AsyncFnOnceRef<&'c mut Conn, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        E: From<Error> + Send + 'a,
        T: Send + 'a,
    {
        self.runtime.transaction(body)
    }

    /// Runs `body` as the read that `op` describes: what `#[read]` expands to, for code without macros.
    ///
    /// ```no_run
    /// # use dbopt_diesel::{prelude::*, Intent, Op};
    /// # use diesel::prelude::*;
    /// # use diesel_async::RunQueryDsl;
    /// # diesel::table! { users (id) { id -> BigInt, name -> Text, } }
    /// static NAMES: Op = Op::new("names", Intent::Read);
    /// # async fn example(db: Db) -> QueryResult<Vec<String>> {
    /// db.read(&NAMES, async |conn| users::table.select(users::name).load(conn).await).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// The body's own, or what kept it from running.
    ///
    /// # Cancel safety
    /// Dropping the future cancels what is running on the server.
    pub fn read<'a, T, E, F>(&'a self, op: &'static Op, body: F) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        for<'c> F: AsyncFn(&'c mut Conn) -> Result<T, E>
            + AsyncFnRef<&'c mut Conn, Result<T, E>, Fut: Send>
            + Send
            + Sync
            + 'a,
        E: From<Error> + Send + 'a,
        T: Send + 'a,
    {
        self.runtime.read(op, body)
    }

    /// Runs `body` as the write that `op` describes: what `#[write]` expands to, for code without macros.
    ///
    /// # Errors
    /// The body's own, or what kept it from running or committing.
    ///
    /// # Cancel safety
    /// As for [`Db::transaction`].
    pub fn write<'a, T, E, F>(&'a self, op: &'static Op, body: F) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        for<'c> F: AsyncFnOnce(&'c mut Conn) -> Result<T, E>
            + AsyncFnOnceRef<&'c mut Conn, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        E: From<Error> + Send + 'a,
        T: Send + 'a,
    {
        self.runtime.write(op, body)
    }

    /// The cache by hand: invalidating what other programs changed, clearing, warming.
    pub fn cache(&self) -> Caching<'_, Postgres> {
        self.runtime.caching()
    }

    /// The state right now: nodes, lag, pools, calls. Asks no server.
    pub fn status(&self) -> Status {
        self.runtime.status()
    }

    /// The last quarter of an hour in samples: those after the one of this number, 0 for all. Asks no server.
    pub fn history(&self, after: u64) -> History {
        self.runtime.history(after)
    }

    /// Refuses new calls, waits up to 30 s for those that run, stops the background work and closes every connection.
    pub async fn shutdown(&self) {
        self.runtime.shutdown(Duration::from_secs(30)).await;
    }

    /// The runtime underneath.
    pub fn runtime(&self) -> &Arc<Runtime<Postgres>> {
        &self.runtime
    }
}

/// What an application gives [`Db`] in code, besides its settings.
#[derive(Debug)]
#[must_use = "nothing is connected until connect()"]
pub struct DbBuilder {
    config: Config,
    backend: Postgres,
    extras: Extras,
}

impl DbBuilder {
    /// Tells `watch` of every statement that any method runs.
    pub fn watched_by(mut self, watch: impl StatementWatch) -> Self {
        self.backend = Postgres::watched_by(Arc::new(watch));
        self
    }

    /// Asks `source` how busy the nodes' machines are, in place of `cluster.host.source`.
    pub fn host_source(mut self, source: impl HostSource) -> Self {
        self.extras.host_source = Some(Arc::new(source));
        self
    }

    /// Asks `resolver` for the addresses of `database.discover`, in place of the system's DNS.
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.extras.resolver = Some(Arc::new(resolver));
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// As for [`Db::connect`].
    pub async fn connect(self) -> Result<Db, Error> {
        let insight = Insight::new(self.config.insight.clone());
        let backend = self.backend.with_insight(insight.clone());
        let extras = Extras { insight: Some(insight), advisor: advisor(), ..self.extras };
        let runtime = Runtime::connect_with(backend, self.config, extras).await?;
        Ok(Db { runtime })
    }
}

/// Who finds out which indexes are missing.
#[cfg(feature = "advise")]
fn advisor() -> Option<Arc<dyn Advisor>> {
    Some(Arc::new(crate::advise::Background))
}

#[cfg(not(feature = "advise"))]
fn advisor() -> Option<Arc<dyn Advisor>> {
    None
}
