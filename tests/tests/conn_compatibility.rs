//! Code written for diesel-async works on `Conn` as it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dbopt_diesel::prelude::*;
use dbopt_diesel::{Intent, Op};
use dbopt_tests::things::{self, things as table};
use dbopt_tests::{Things, cluster, config, connect};
use diesel::connection::{CacheSize, Instrumentation, InstrumentationEvent};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text};
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncConnectionCore, AsyncPgConnection, RunQueryDsl, SaveChangesDsl,
    SimpleAsyncConnection, TransactionManager, UpdateAndFetchResults,
};
use futures_util::TryStreamExt;
use parking_lot::Mutex;

static READ: Op = Op::new("read", Intent::Read);
static WRITE: Op = Op::new("write", Intent::Write);

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Identifiable, AsChangeset, Insertable)]
#[diesel(table_name = table)]
struct Thing {
    id: i64,
    value: i64,
}

mod sql {
    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "mood"))]
    pub struct Mood;
}

#[derive(Debug, Clone, Copy, PartialEq, AsExpression, FromSqlRow)]
#[diesel(sql_type = sql::Mood)]
enum Mood {
    Calm,
    Cross,
}

impl ToSql<sql::Mood, Pg> for Mood {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(if *self == Mood::Calm { b"calm" } else { b"cross" })?;
        Ok(IsNull::No)
    }
}

impl FromSql<sql::Mood, Pg> for Mood {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        match bytes.as_bytes() {
            b"calm" => Ok(Mood::Calm),
            b"cross" => Ok(Mood::Cross),
            other => Err(format!("{other:?} is no mood").into()),
        }
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql::Mood;
    moods (id) {
        id -> BigInt,
        mood -> Mood,
        history -> Array<Mood>,
        words -> Array<Nullable<Text>>,
    }
}

/// Generic code, as libraries have it.
async fn count_of<C: AsyncConnection<Backend = Pg>>(conn: &mut C) -> QueryResult<i64> {
    table::table.count().get_result(conn).await
}

async fn add<C: AsyncConnection<Backend = Pg>>(conn: &mut C, id: i64) -> QueryResult<usize> {
    diesel::insert_into(table::table).values((table::id.eq(id), table::value.eq(1))).execute(conn).await
}

async fn add_in_a_transaction<C: AsyncConnection<Backend = Pg>>(conn: &mut C, id: i64) -> QueryResult<usize> {
    conn.transaction(async |conn| add(conn, id).await).await
}

async fn pipelined(mut conn: &AsyncPgConnection) -> QueryResult<(i64, i64)> {
    let one = diesel::select(1_i64.into_sql::<BigInt>()).get_result(&mut conn);
    let two = diesel::select(2_i64.into_sql::<BigInt>()).get_result(&mut conn);
    tokio::try_join!(one, two)
}

#[derive(Clone)]
struct Repo {
    db: Db,
}

#[repository]
impl Repo {
    #[read]
    async fn on_conn(&self, conn: &mut Conn) -> QueryResult<i64> {
        count_of(conn).await
    }

    #[read]
    async fn on_pg(&self, conn: &mut AsyncPgConnection) -> QueryResult<i64> {
        count_of(conn).await
    }

    #[read]
    async fn on_shared_pg(&self, conn: &AsyncPgConnection) -> QueryResult<(i64, i64)> {
        let ((a, b), (c, d)) = tokio::try_join!(pipelined(conn), pipelined(conn))?;
        Ok((a + b, c + d))
    }

    #[read]
    async fn on_shared(&self, conn: &Conn) -> QueryResult<(i64, i64)> {
        let (mut a, mut b): (&AsyncPgConnection, &AsyncPgConnection) = (conn, conn);
        tokio::try_join!(table::table.count().get_result(&mut a), table::table.count().get_result(&mut b))
    }

    #[write]
    async fn nested(&self, conn: &mut Conn, keep: bool) -> QueryResult<i64> {
        conn.transaction(async |conn| {
            add(conn, 10).await?;
            let inner = conn.transaction(async |conn| {
                add(conn, 11).await?;
                if keep { Ok(()) } else { Err(diesel::result::Error::RollbackTransaction) }
            });
            assert_eq!(inner.await.is_ok(), keep);
            count_of(conn).await
        })
        .await
    }

    #[write]
    async fn nested_on_pg(&self, conn: &mut AsyncPgConnection) -> QueryResult<usize> {
        conn.transaction(async |conn| add(conn, 20).await).await
    }

    #[write]
    async fn save(&self, conn: &mut Conn, thing: &Thing) -> QueryResult<Thing> {
        thing.save_changes(conn).await
    }

    #[read]
    async fn sum_by_stream(&self, conn: &mut Conn) -> QueryResult<i64> {
        let rows = table::table.select(Thing::as_select()).load_stream(conn).await?;
        rows.try_fold(0, async |sum, thing| Ok(sum + thing.value)).await
    }
}

async fn repo() -> (dbopt_diesel::dev::Cluster, Repo) {
    let cluster = cluster(0).await;
    let moods = "CREATE TYPE mood AS ENUM ('calm', 'cross'); \
        CREATE TABLE moods (id bigint PRIMARY KEY, mood mood NOT NULL, history mood[] NOT NULL, words text[] NOT NULL)";
    cluster.primary().execute(moods).await.unwrap();
    let db = connect(config(&cluster)).await;
    (cluster, Repo { db })
}

#[tokio::test]
async fn every_kind_of_parameter_works_in_methods() {
    let (_cluster, repo) = repo().await;
    assert_eq!(repo.on_conn().await, Ok(0));
    assert_eq!(repo.on_pg().await, Ok(0));
    assert_eq!(repo.on_shared_pg().await, Ok((3, 3)));
    assert_eq!(repo.on_shared().await, Ok((0, 0)));
    assert_eq!(repo.nested(false).await, Ok(1));
    assert_eq!(repo.nested_on_pg().await, Ok(1));
    assert_eq!(repo.on_conn().await, Ok(2));
    let thing = Thing { id: 10, value: 99 };
    assert_eq!(repo.save(&thing).await, Ok(thing));
    assert_eq!(repo.sum_by_stream().await, Ok(100));
    let error = repo.nested(true).await.unwrap_err();
    assert!(matches!(error, diesel::result::Error::DatabaseError(..)), "10 is there already: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_it_may_be_spawned() {
    let (_cluster, repo) = repo().await;
    let spawned = repo.clone();
    let methods = tokio::spawn(async move {
        spawned.on_shared_pg().await?;
        spawned.sum_by_stream().await?;
        spawned.nested(true).await
    });
    assert_eq!(methods.await.unwrap(), Ok(2));
    let db = repo.db.clone();
    let closure = tokio::spawn(async move {
        let word = String::from("borrowed");
        let seen = db.transaction(async |tx| {
            let all = tx.transaction(async |tx| count_of(tx).await).await?;
            QueryResult::Ok((all, word.len()))
        });
        seen.await
    });
    assert_eq!(closure.await.unwrap(), Ok((2, 8)));
}

#[tokio::test]
async fn methods_join_a_transaction() {
    let (_cluster, repo) = repo().await;
    let undone = repo.db.transaction(async |tx| {
        assert_eq!(repo.nested_in(tx, true).await?, 2);
        assert_eq!(repo.on_shared_in(tx).await?, (2, 2));
        assert_eq!(repo.on_shared_pg_in(tx).await?, (3, 3));
        repo.nested_on_pg_in(tx.as_pg()).await?;
        Err::<(), _>(diesel::result::Error::RollbackTransaction)
    });
    assert_eq!(undone.await, Err(diesel::result::Error::RollbackTransaction));
    assert_eq!(repo.on_conn().await, Ok(0));
}

#[tokio::test]
async fn enums_and_arrays_of_the_applications_own() {
    let (_cluster, repo) = repo().await;
    let (history, words) = (vec![Mood::Cross, Mood::Calm], vec![Some("a".to_owned()), None]);
    let row = (1_i64, Mood::Calm, history.clone(), words.clone());
    let inserted = repo.db.write(&WRITE, async |conn| {
        let values = (moods::id.eq(row.0), moods::mood.eq(row.1), moods::history.eq(&row.2), moods::words.eq(&row.3));
        diesel::insert_into(moods::table).values(values).execute(conn).await
    });
    assert_eq!(inserted.await, Ok(1));
    let read = repo.db.read(&READ, async |conn| {
        let wanted = moods::table
            .filter(moods::mood.eq_any([Mood::Calm, Mood::Cross]))
            .filter(moods::history.contains(vec![Mood::Cross]));
        wanted.first::<(i64, Mood, Vec<Mood>, Vec<Option<String>>)>(conn).await
    });
    assert_eq!(read.await, Ok((1, Mood::Calm, history, words)));
    let by_sql = repo.db.read(&READ, async |conn| {
        let sql = "SELECT count(*) AS value, 0::bigint AS id FROM moods WHERE mood = ANY($1)";
        diesel::sql_query(sql).bind::<Array<sql::Mood>, _>(vec![Mood::Calm]).get_result::<Counted>(conn).await
    });
    assert_eq!(by_sql.await.unwrap().value, 1);
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[tokio::test]
async fn scripts_and_copy_on_the_server() {
    let (_cluster, repo) = repo().await;
    let copied = repo.db.write(&WRITE, async |conn| {
        conn.batch_execute("CREATE TEMP TABLE numbers (n int); INSERT INTO numbers VALUES (1), (2)").await?;
        let program = diesel::sql_query("COPY things FROM PROGRAM 'printf \"1\\\\t2\\\\n3\\\\t4\\\\n\"'");
        program.execute(conn).await
    });
    assert_eq!(copied.await, Ok(2));
    assert_eq!(repo.sum_by_stream().await, Ok(6));
}

#[tokio::test]
async fn transactions_with_options() {
    let (_cluster, repo) = repo().await;
    let db = &repo.db;
    static BARE: Op = Op::new("bare", Intent::Write).without_transaction();
    let level = db.write(&BARE, async |conn| {
        conn.as_pg().build_transaction().serializable().run(async |c| show(c, "transaction_isolation").await).await
    });
    assert_eq!(level.await.as_deref(), Ok("serializable"));
    let refused =
        db.write(&BARE, async |conn| conn.as_pg().build_transaction().read_only().run(async |c| add(c, 1).await).await);
    assert!(refused.await.unwrap_err().to_string().contains("read-only"));
    let level = db.read(&READ, async |conn| {
        conn.as_pg()
            .build_transaction()
            .repeatable_read()
            .deferrable()
            .run(async |c| show(c, "transaction_isolation").await)
            .await
    });
    assert_eq!(level.await.as_deref(), Ok("repeatable read"));
}

diesel::define_sql_function! {
    fn current_setting(name: Text) -> Text;
}

async fn show(conn: &mut AsyncPgConnection, name: &str) -> QueryResult<String> {
    diesel::select(current_setting(name)).get_result(conn).await
}

#[tokio::test]
async fn a_connection_of_ones_own_and_test_transactions() {
    let (cluster, _) = repo().await;
    let mut conn = Conn::establish(&cluster.primary().url()).await.unwrap();
    assert_eq!(show(conn.as_pg(), "application_name").await.as_deref(), Ok("dbopt"));
    conn.begin_test_transaction().await.unwrap();
    assert_eq!(add_in_a_transaction(&mut conn, 1).await, Ok(1));
    assert_eq!(count_of(&mut conn).await, Ok(1));
    drop(conn);
    let mut conn = Conn::establish(&cluster.primary().url()).await.unwrap();
    assert_eq!(count_of(&mut conn).await, Ok(0));
    let result = conn.test_transaction::<_, diesel::result::Error, _>(async |conn| add(conn, 2).await).await;
    assert_eq!(result, 1);
    assert_eq!(count_of(&mut conn).await, Ok(0));
}

/// An application's own instrumentation, set on the connection or for all of them, hears what it always did.
#[tokio::test]
async fn instrumentation_of_the_applications_own_is_still_called() {
    static BY_DEFAULT: AtomicUsize = AtomicUsize::new(0);
    struct Everywhere;
    impl Instrumentation for Everywhere {
        fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
            if matches!(event, InstrumentationEvent::FinishQuery { .. }) {
                BY_DEFAULT.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    let (cluster, _) = repo().await;
    diesel::connection::set_default_instrumentation(|| Some(Box::new(Everywhere))).unwrap();
    let mut conn = Conn::establish(&cluster.primary().url()).await.unwrap();
    let before = BY_DEFAULT.fetch_add(0, Ordering::Relaxed);
    count_of(&mut conn).await.unwrap();
    assert!(BY_DEFAULT.fetch_add(0, Ordering::Relaxed) > before);
    let heard: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let sink = heard.clone();
    conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
        sink.lock().push(match event {
            InstrumentationEvent::StartQuery { .. } => "start",
            InstrumentationEvent::FinishQuery { .. } => "finish",
            InstrumentationEvent::BeginTransaction { .. } => "begin",
            InstrumentationEvent::CommitTransaction { .. } => "commit",
            _ => "other",
        });
    });
    add_in_a_transaction(&mut conn, 5).await.unwrap();
    let heard: Vec<_> = heard.lock().iter().copied().filter(|e| *e != "other").collect();
    assert_eq!(heard, ["begin", "start", "finish", "start", "finish", "commit", "start", "finish"]);
}

/// What diesel-async hides from its documentation and `Conn` relies on: a release that changes it fails here.
#[tokio::test]
async fn hidden_methods_of_diesel_async() {
    let (cluster, _) = repo().await;
    let conn = &mut Conn::establish(&cluster.primary().url()).await.unwrap();
    let stream = AsyncConnectionCore::load(conn, things::things::table.select(table::id)).await.unwrap();
    assert_eq!(stream.try_collect::<Vec<_>>().await.unwrap().len(), 0);
    let insert = diesel::insert_into(table::table).values(Thing { id: 1, value: 1 });
    assert_eq!(AsyncConnectionCore::execute_returning_count(conn, insert).await, Ok(1));
    let changed: Thing = conn.update_and_fetch(&Thing { id: 1, value: 2 }).await.unwrap();
    assert_eq!(changed.value, 2);
    conn.set_prepared_statement_cache_size(CacheSize::Disabled);
    assert_eq!(count_of(conn).await, Ok(1));

    let depth =
        |conn: &mut Conn| AnsiTransactionManager::transaction_manager_status_mut(conn).transaction_depth().unwrap();
    AnsiTransactionManager::begin_transaction(conn).await.unwrap();
    assert_eq!(depth(conn), NonZeroU32::new(1));
    assert!(AnsiTransactionManager::is_broken_transaction_manager(conn));
    AnsiTransactionManager::begin_transaction(conn).await.unwrap();
    conn.batch_execute("ROLLBACK TO SAVEPOINT diesel_savepoint_1").await.expect("the name that diesel-async gives");
    AnsiTransactionManager::rollback_transaction(conn).await.unwrap();
    AnsiTransactionManager::commit_transaction(conn).await.unwrap();
    assert_eq!(depth(conn), None);
    assert!(!AnsiTransactionManager::is_broken_transaction_manager(conn));
    assert_eq!(conn.transaction_state().transaction_manager_depth(), None);
    conn.instrumentation().on_connection_event(InstrumentationEvent::start_establish_connection(""));
}

trait Depth {
    fn transaction_manager_depth(&mut self) -> Option<NonZeroU32>;
}

impl Depth for AnsiTransactionManager {
    fn transaction_manager_depth(&mut self) -> Option<NonZeroU32> {
        // It is replaced by a new one when a connection is proved clean.
        *self = AnsiTransactionManager::default();
        None
    }
}

/// The same repository code as in the tests of the runtime, once more by its `_in` forms on a plain connection.
#[tokio::test]
async fn methods_run_on_a_connection_of_ones_own() {
    let (cluster, repo) = repo().await;
    let things = Things { db: repo.db.clone() };
    let conn = &mut Conn::establish(&cluster.primary().url()).await.unwrap();
    assert_eq!(things.set_in(conn, 1, 3).await, Ok(1));
    assert_eq!(things.value_in(conn, 1).await, Ok(Some(3)));
    let _: Option<i32> = diesel::select(None::<i32>.into_sql::<Nullable<Integer>>()).get_result(conn).await.unwrap();
}
