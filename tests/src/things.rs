//! A repository for tests: methods that tell where they ran, and one table of numbers.

use dbopt_diesel::prelude::*;
use diesel::prelude::*;
use diesel::sql_types::Double;
use diesel_async::RunQueryDsl;

/// The table.
pub const SCHEMA: &str = "CREATE TABLE things (id bigint PRIMARY KEY, value bigint NOT NULL)";

diesel::table! {
    /// Numbers.
    things (id) {
        /// The key.
        id -> BigInt,
        /// The number.
        value -> BigInt,
    }
}

diesel::define_sql_function! {
    /// The port of the server that answers.
    fn inet_server_port() -> Integer;
}
diesel::define_sql_function! {
    /// The process that answers.
    fn pg_backend_pid() -> Integer;
}
diesel::define_sql_function! {
    /// Sleeps on the server.
    fn pg_sleep(seconds: Double) -> Text;
}

/// The repository.
#[derive(Clone, Debug)]
pub struct Things {
    /// Its database.
    pub db: Db,
}

#[repository]
impl Things {
    /// The port where a read ran.
    #[read]
    pub async fn read_port(&self, conn: &mut Conn) -> QueryResult<i32> {
        diesel::select(inet_server_port()).get_result(conn).await
    }

    /// The port where a write ran.
    #[write]
    pub async fn write_port(&self, conn: &mut Conn) -> QueryResult<i32> {
        diesel::select(inet_server_port()).get_result(conn).await
    }

    /// The port where a critical call ran.
    #[critical]
    pub async fn critical_port(&self, conn: &mut Conn) -> QueryResult<i32> {
        diesel::select(inet_server_port()).get_result(conn).await
    }

    /// The port where a critical read ran.
    #[critical]
    #[read]
    pub async fn critical_read_port(&self, conn: &mut Conn) -> QueryResult<i32> {
        diesel::select(inet_server_port()).get_result(conn).await
    }

    /// The port where a read with a limit of its own ran.
    #[read(max_staleness = "1s")]
    pub async fn fresh_port(&self, conn: &mut Conn) -> QueryResult<i32> {
        diesel::select(inet_server_port()).get_result(conn).await
    }

    /// The port where a read that insists on the primary ran.
    #[read(from = "primary")]
    pub async fn primary_read_port(&self, conn: &mut Conn) -> QueryResult<i32> {
        diesel::select(inet_server_port()).get_result(conn).await
    }

    /// A read that takes so long; gives the port where it ended.
    #[read]
    pub async fn slow_read(&self, conn: &mut Conn, seconds: f64) -> QueryResult<i32> {
        diesel::select(pg_sleep(seconds)).execute(conn).await?;
        diesel::select(inet_server_port()).get_result(conn).await
    }

    /// A write that takes so long.
    #[write]
    pub async fn slow_write(&self, conn: &mut Conn, seconds: f64) -> QueryResult<usize> {
        diesel::select(pg_sleep(seconds)).execute(conn).await
    }

    /// A read on the primary that takes so long.
    #[read(from = "primary")]
    pub async fn slow_primary_read(&self, conn: &mut Conn, seconds: f64) -> QueryResult<usize> {
        diesel::select(pg_sleep(seconds)).execute(conn).await
    }

    /// A critical call that takes so long.
    #[critical]
    pub async fn slow_critical(&self, conn: &mut Conn, seconds: f64) -> QueryResult<usize> {
        diesel::select(pg_sleep(seconds)).execute(conn).await
    }

    /// The value under `id`.
    #[read]
    pub async fn value(&self, conn: &mut Conn, id: i64) -> QueryResult<Option<i64>> {
        things::table.find(id).select(things::value).first(conn).await.optional()
    }

    /// Sets the value under `id`.
    #[write]
    pub async fn set(&self, conn: &mut Conn, id: i64, value: i64) -> QueryResult<usize> {
        diesel::insert_into(things::table)
            .values((things::id.eq(id), things::value.eq(value)))
            .on_conflict(things::id)
            .do_update()
            .set(things::value.eq(value))
            .execute(conn)
            .await
    }

    /// Sets the value under `id` on the reserved connections.
    #[critical]
    pub async fn critical_set(&self, conn: &mut Conn, id: i64, value: i64) -> QueryResult<usize> {
        self.set_in(conn, id, value).await
    }

    /// A mistake: a read that writes.
    #[critical]
    #[read]
    pub async fn critical_read_that_writes(&self, conn: &mut Conn, id: i64, value: i64) -> QueryResult<usize> {
        self.set_in(conn, id, value).await
    }

    /// Sets the value under `id`, each statement committed by itself.
    #[write(transaction = false)]
    pub async fn set_without_transaction(&self, conn: &mut Conn, id: i64, value: i64) -> QueryResult<usize> {
        self.set_in(conn, id, value).await
    }
}
