//! The connection that methods' bodies work on.

mod count;
mod fate;
mod frames;
mod invalidations;
mod outbox;
mod pending;
mod session;
mod span;
mod tap;
mod wire;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use dbopt_core::backend::TransactionMark;
use dbopt_core::position::{Lsn, Position};
use diesel::associations::HasTable;
use diesel::connection::{CacheSize, Instrumentation, get_default_instrumentation};
use diesel::data_types::PgLsn;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AsQuery, IntoUpdateTarget, QueryFragment, QueryId};
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncConnectionCore, AsyncPgConnection, RunQueryDsl,
    SimpleAsyncConnection, UpdateAndFetchResults,
};
use futures_util::future::{BoxFuture, join};

pub(crate) use count::Counts;
pub(crate) use tap::Tap;
pub(crate) use wire::Wire;

use invalidations::Invalidations;

use crate::connect::{Canceller, Driver};

diesel::define_sql_function! {
    /// The end of the log, as far as it was inserted.
    fn pg_current_wal_insert_lsn() -> diesel::sql_types::PgLsn;
}
diesel::define_sql_function! {
    /// What a standby has replayed.
    fn pg_last_wal_replay_lsn() -> diesel::sql_types::Nullable<diesel::sql_types::PgLsn>;
}

/// A PostgreSQL connection that sees everything that happens on it.
///
/// It is an [`AsyncConnection`]: everything of diesel-async works on `&mut Conn`, and code that takes `&AsyncPgConnection` (to
/// pipeline statements) or is generic over `C: AsyncConnection<Backend = Pg>` takes it as it is. [`Conn::as_pg`] lends the inner
/// connection to code that insists on `&mut AsyncPgConnection`.
///
/// Statements are watched on the wire, so nothing that runs on it goes unseen: neither its SQLSTATE, nor its rows, nor that its
/// caller went away. A method's connection comes from a pool and goes back there when the body ends.
pub struct Conn {
    pg: AsyncPgConnection,
    wire: Arc<Wire>,
    counts: Arc<Counts>,
    canceller: Arc<Canceller>,
    timeline: Option<u32>,
    timeline_read_at: tokio::time::Instant,
    /// `None` while a change is on its way.
    read_only: Option<bool>,
    track_position: bool,
    committed_at: Option<Position>,
    /// Whether the transaction that is begun next is to be recognised later.
    wants_mark: bool,
    mark: Option<TransactionMark>,
    invalidations: Invalidations,
    /// Ends the task that moves the bytes when the connection is dropped.
    _driver: Driver,
}

/// What the transaction manager sends to begin an outermost transaction.
const BEGIN: &str = "BEGIN";

/// What the transaction manager sends to commit an outermost transaction.
const COMMIT: &str = "COMMIT";

/// What a new connection is made of.
pub(crate) struct Parts {
    pub(crate) pg: AsyncPgConnection,
    pub(crate) wire: Arc<Wire>,
    pub(crate) canceller: Arc<Canceller>,
    pub(crate) driver: Driver,
    pub(crate) timeline: Option<u32>,
    pub(crate) read_only: bool,
}

impl Conn {
    pub(crate) fn new(parts: Parts) -> Self {
        let counts = Arc::new(Counts::default());
        let mut pg = parts.pg;
        pg.set_instrumentation(counts.instrumentation(get_default_instrumentation()));
        parts.wire.watch_from_now();
        Conn {
            pg,
            wire: parts.wire,
            counts,
            canceller: parts.canceller,
            timeline: parts.timeline,
            timeline_read_at: tokio::time::Instant::now(),
            read_only: Some(parts.read_only),
            track_position: false,
            committed_at: None,
            wants_mark: false,
            mark: None,
            invalidations: Invalidations::default(),
            _driver: parts.driver,
        }
    }

    /// The inner connection, for code that insists on `&mut AsyncPgConnection`, and for
    /// [`build_transaction`](AsyncPgConnection::build_transaction).
    pub fn as_pg(&mut self) -> &mut AsyncPgConnection {
        &mut self.pg
    }

    /// Whether a transaction is open on the server.
    pub fn is_in_transaction(&self) -> bool {
        self.wire.in_transaction()
    }

    /// Whether the server is a standby: it shows what it has replayed and refuses writes.
    pub fn is_standby(&self) -> bool {
        self.wire.is_standby()
    }

    /// Makes cached results with these tags unservable once what this connection's call writes is committed; not if it, or
    /// the savepoint it is in, is rolled back.
    ///
    /// The second form of a `#[write(invalidates = ..)]` method does it. On a connection of your own, outside of dbopt's calls, nothing
    /// follows.
    pub fn invalidate_on_commit<T: Into<String>>(&self, tags: impl IntoIterator<Item = T>) {
        self.invalidations.add(tags.into_iter().map(Into::into).collect());
    }

    /// Statements that have ended on this connection since it was opened.
    pub fn statements(&self) -> u64 {
        self.wire.statements()
    }

    /// COMMIT, and right behind it, in the same round trip, the question where the log ends.
    async fn commit_and_locate(&mut self) -> QueryResult<()> {
        let (mut commit, mut locate) = (&self.pg, &self.pg);
        let (committed, end) = join(
            commit.batch_execute(COMMIT),
            diesel::select(pg_current_wal_insert_lsn()).get_result::<PgLsn>(&mut locate),
        )
        .await;
        committed?;
        self.committed_at = match (end, self.timeline) {
            (Ok(end), Some(timeline)) => Some(Position { timeline, lsn: Lsn(end.0) }),
            _ => None,
        };
        Ok(())
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("standby", &self.is_standby())
            .field("in_transaction", &self.is_in_transaction())
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

/// Shared references pipeline statements; there is no `DerefMut`, so that nothing exclusive bypasses `Conn` unseen.
impl Deref for Conn {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.pg
    }
}

impl SimpleAsyncConnection for Conn {
    async fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        if self.wants_mark && query == BEGIN {
            self.mark = Some(fate::begin(&self.pg, self.timeline).await?);
            return Ok(());
        }
        // The transaction manager's COMMIT of the outermost transaction passes here.
        if query != COMMIT {
            let result = self.pg.batch_execute(query).await;
            self.invalidations.ran(query, &result);
            return result;
        }
        self.wire.forget_rollback();
        if self.track_position || !self.invalidations.is_empty() {
            self.commit_and_locate().await?;
        } else {
            self.pg.batch_execute(COMMIT).await?;
        }
        // Behind a failed statement that nobody waited for, the server answers COMMIT with ROLLBACK, and no error.
        if self.wire.rolled_back() { Err(diesel::result::Error::RollbackTransaction) } else { Ok(()) }
    }
}

impl AsyncConnectionCore for Conn {
    type ExecuteFuture<'conn, 'query> = <AsyncPgConnection as AsyncConnectionCore>::ExecuteFuture<'conn, 'query>;
    type LoadFuture<'conn, 'query> = <AsyncPgConnection as AsyncConnectionCore>::LoadFuture<'conn, 'query>;
    type Stream<'conn, 'query> = <AsyncPgConnection as AsyncConnectionCore>::Stream<'conn, 'query>;
    type Row<'conn, 'query> = <AsyncPgConnection as AsyncConnectionCore>::Row<'conn, 'query>;
    type Backend = Pg;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Pg> + QueryId + 'query,
    {
        AsyncConnectionCore::load(&mut self.pg, source)
    }

    fn execute_returning_count<'conn, 'query, T>(&'conn mut self, source: T) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Pg> + QueryId + 'query,
    {
        AsyncConnectionCore::execute_returning_count(&mut self.pg, source)
    }
}

impl AsyncConnection for Conn {
    type TransactionManager = AnsiTransactionManager;

    async fn establish(url: &str) -> ConnectionResult<Self> {
        crate::connect::alone(url).await.map_err(|e| ConnectionError::BadConnection(e.to_string()))
    }

    fn transaction_state(&mut self) -> &mut AnsiTransactionManager {
        self.pg.transaction_state()
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        self.pg.instrumentation()
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.pg.set_instrumentation(self.counts.instrumentation(Some(Box::new(instrumentation))));
    }

    fn set_prepared_statement_cache_size(&mut self, size: CacheSize) {
        self.pg.set_prepared_statement_cache_size(size);
    }
}

impl<Changes, Output, Target, Values> UpdateAndFetchResults<Changes, Output> for Conn
where
    Output: Send + 'static,
    Changes: Copy
        + Identifiable
        + AsChangeset<Target = Target, Changeset = Values>
        + HasTable<Table = Target>
        + IntoUpdateTarget
        + Send,
    Target: Table,
    AsyncPgConnection: UpdateAndFetchResults<Changes, Output>,
{
    fn update_and_fetch<'conn, 'changes>(&'conn mut self, changes: Changes) -> BoxFuture<'changes, QueryResult<Output>>
    where
        Changes: 'changes,
        'conn: 'changes,
        Self: 'changes,
    {
        self.pg.update_and_fetch(changes)
    }
}
