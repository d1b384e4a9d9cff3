//! A repository with limits for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dbopt_diesel::prelude::*;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use crate::things::{pg_sleep, things};

/// The repository.
#[derive(Clone, Debug)]
pub struct Desk {
    /// Its database.
    pub db: Db,
    runs: Arc<AtomicU64>,
}

impl Desk {
    /// A desk on `db` whose bodies have not run.
    pub fn new(db: Db) -> Self {
        Desk { db, runs: Arc::default() }
    }

    /// How often the body of a limited method ran.
    pub fn runs(&self) -> u64 {
        AtomicU64::load(&self.runs, Ordering::SeqCst)
    }

    fn ran(&self) {
        self.runs.fetch_add(1, Ordering::SeqCst);
    }
}

#[repository]
impl Desk {
    /// With the configured limits.
    #[read]
    #[rate_limited]
    pub async fn read(&self, conn: &mut Conn, id: i64) -> QueryResult<Option<i64>> {
        self.ran();
        things::table.find(id).select(things::value).first(conn).await.optional()
    }

    /// Another one with the configured limits.
    #[write]
    #[rate_limited]
    pub async fn write(&self, conn: &mut Conn, id: i64, value: i64) -> QueryResult<usize> {
        self.ran();
        diesel::insert_into(things::table)
            .values((things::id.eq(id), things::value.eq(value)))
            .on_conflict(things::id)
            .do_update()
            .set(things::value.eq(value))
            .execute(conn)
            .await
    }

    /// With limits of its own.
    #[read]
    #[rate_limited(per_user = "3/s, 5/min", global = "1000/min")]
    pub async fn own(&self, conn: &mut Conn, id: i64) -> QueryResult<Option<i64>> {
        self.ran();
        things::table.find(id).select(things::value).first(conn).await.optional()
    }

    /// Limited by an argument, and dear.
    #[read]
    #[rate_limited(per_user = "10/min", key = "customer {customer}", cost = 5)]
    pub async fn dear(&self, conn: &mut Conn, customer: &str) -> QueryResult<usize> {
        self.ran();
        let _ = conn;
        Ok(customer.len())
    }

    /// Costs the milliseconds that it takes.
    #[read]
    #[rate_limited(per_user = "200/min", cost = "db_ms")]
    pub async fn slow(&self, conn: &mut Conn, seconds: f64) -> QueryResult<()> {
        self.ran();
        diesel::select(pg_sleep(seconds)).execute(conn).await.map(drop)
    }

    /// Cached; a hit counts for its user, a miss for all.
    #[cached(tags = ["things"])]
    #[rate_limited(per_user = "5/min", global = "2/min")]
    pub async fn cached(&self, conn: &mut Conn, id: i64) -> QueryResult<Option<i64>> {
        self.ran();
        things::table.find(id).select(things::value).first(conn).await.optional()
    }

    /// Without limits of its own.
    #[read]
    pub async fn free(&self, conn: &mut Conn, id: i64) -> QueryResult<Option<i64>> {
        self.ran();
        things::table.find(id).select(things::value).first(conn).await.optional()
    }
}
