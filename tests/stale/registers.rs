//! Versioned registers behind dbopt: each way to cache and each way to write that it offers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use dbopt_diesel::prelude::*;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::Double;
use diesel_async::RunQueryDsl;

use super::history::Method;

/// The table.
pub(crate) const SCHEMA: &str = "CREATE TABLE registers (id bigint PRIMARY KEY, version bigint NOT NULL)";

diesel::table! {
    registers (id) {
        id -> BigInt,
        version -> BigInt,
    }
}

diesel::define_sql_function! {
    fn pg_sleep(seconds: Double) -> Text;
}

/// Of a thousand bodies, how many wait between what they read and their return.
pub(crate) static SLOW: AtomicU32 = AtomicU32::new(0);

/// How often the body of each way to read ran.
pub(crate) static BODIES: [AtomicU64; Method::READS] = [const { AtomicU64::new(0) }; Method::READS];

/// The repository.
#[derive(Clone)]
pub(crate) struct Registers {
    pub(crate) db: Db,
}

#[repository]
impl Registers {
    #[cached(tags = ["register:{id}"])]
    pub(crate) async fn cached(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        load(conn, id, Method::Cached).await
    }

    #[cached(tags = ["register:{id}"], layers = "l1")]
    pub(crate) async fn in_memory(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        load(conn, id, Method::Memory).await
    }

    #[cached(tags = ["register:{id}"], layers = "l2")]
    pub(crate) async fn in_redis(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        load(conn, id, Method::Redis).await
    }

    #[cached(tags = ["register:{id}"], ttl = "4s", l1_ttl = "1s", refresh_ahead = 0.5)]
    pub(crate) async fn refreshed(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        load(conn, id, Method::Refreshed).await
    }

    #[cached(tags = ["register:{id}"], consistency = "strong")]
    pub(crate) async fn strong(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        load(conn, id, Method::Strong).await
    }

    #[read]
    pub(crate) async fn plain(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        load(conn, id, Method::Plain).await
    }

    #[write(invalidates = ["register:{id}"])]
    pub(crate) async fn write(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        increment(conn, id).await
    }

    #[write(write_through = cached(id))]
    pub(crate) async fn write_through(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        increment(conn, id).await
    }

    #[write(write_through = strong(id))]
    pub(crate) async fn write_through_strong(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        increment(conn, id).await
    }
}

impl Registers {
    /// The version that `method` reads or writes.
    pub(crate) async fn run(&self, method: Method, id: i64) -> QueryResult<i64> {
        match method {
            Method::Cached => self.cached(id).await,
            Method::Memory => self.in_memory(id).await,
            Method::Redis => self.in_redis(id).await,
            Method::Refreshed => self.refreshed(id).await,
            Method::Strong => self.strong(id).await,
            Method::Plain => self.plain(id).await,
            Method::Write => self.write(id).await,
            Method::WriteThrough => self.write_through(id).await,
            Method::WriteThroughStrong => self.write_through_strong(id).await,
            Method::Transaction => self.db.transaction(async |tx| QueryResult::Ok(self.write_in(tx, id).await?)).await,
            Method::RolledBack => {
                let body = async |tx: &mut Conn| {
                    self.write_through_in(tx, id).await?;
                    self.cached_in(tx, id).await?;
                    QueryResult::Err(Error::RollbackTransaction)
                };
                self.db.transaction(body).await
            }
        }
    }
}

async fn load(conn: &mut Conn, id: i64, method: Method) -> QueryResult<i64> {
    BODIES[method as usize].fetch_add(1, Relaxed);
    let version = registers::table.find(id).select(registers::version).first(conn).await?;
    let slow = AtomicU32::load(&SLOW, Relaxed);
    if fastrand::u32(0..1000) < slow {
        diesel::select(pg_sleep(fastrand::f64() * 0.3)).execute(conn).await?;
    }
    Ok(version)
}

async fn increment(conn: &mut Conn, id: i64) -> QueryResult<i64> {
    diesel::update(registers::table.find(id))
        .set(registers::version.eq(registers::version + 1))
        .returning(registers::version)
        .get_result(conn)
        .await
}
