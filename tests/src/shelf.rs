//! A repository with a cache for tests: it counts how often its bodies run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dbopt_diesel::prelude::*;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};

use crate::things::{pg_sleep, things};

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Serialize, Deserialize)]
pub struct Item {
    /// The key.
    pub id: i64,
    /// The number.
    pub value: i64,
}

/// The repository.
#[derive(Clone, Debug)]
pub struct Shelf {
    /// Its database.
    pub db: Db,
    loads: Arc<AtomicU64>,
}

impl Shelf {
    /// A shelf on `db` whose bodies have not run.
    pub fn new(db: Db) -> Self {
        Shelf { db, loads: Arc::default() }
    }

    /// How often the body of a cached method ran.
    pub fn loads(&self) -> u64 {
        AtomicU64::load(&self.loads, Ordering::SeqCst)
    }

    fn loaded(&self) {
        self.loads.fetch_add(1, Ordering::SeqCst);
    }
}

#[repository]
impl Shelf {
    /// The item, kept under its own tag and that of all.
    #[cached(tags = ["item:{id}", "items"])]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<Option<Item>> {
        self.loaded();
        things::table.find(id).first(conn).await.optional()
    }

    /// The items in a range.
    #[cached(tags = ["items"])]
    pub async fn between(&self, conn: &mut Conn, from: i64, to: i64) -> QueryResult<Vec<Item>> {
        self.loaded();
        things::table.filter(things::id.between(from, to)).order(things::id).load(conn).await
    }

    /// How many there are; no tag of an item.
    #[cached(tags = ["count"], ttl = "1h")]
    pub async fn count(&self, conn: &mut Conn) -> QueryResult<i64> {
        self.loaded();
        things::table.count().get_result(conn).await
    }

    /// The item, as every reader on every instance must see it.
    #[cached(tags = ["item:{id}"], consistency = "strong")]
    pub async fn exact(&self, conn: &mut Conn, id: i64) -> QueryResult<Option<Item>> {
        self.loaded();
        things::table.find(id).first(conn).await.optional()
    }

    /// The item, in memory only.
    #[cached(tags = ["item:{id}"], layers = "l1")]
    pub async fn near(&self, conn: &mut Conn, id: i64) -> QueryResult<Option<Item>> {
        self.loaded();
        things::table.find(id).first(conn).await.optional()
    }

    /// The item under a key with a name.
    #[cached(tags = ["named"], key = "shelf:{id}")]
    pub async fn named(&self, conn: &mut Conn, id: i64) -> QueryResult<Option<Item>> {
        self.loaded();
        things::table.find(id).first(conn).await.optional()
    }

    /// The item, or for a while what it was when the database is gone.
    #[cached(tags = ["item:{id}"], ttl = "200ms", stale_if_error = "1m")]
    pub async fn tolerant(&self, conn: &mut Conn, id: i64) -> QueryResult<Option<Item>> {
        self.loaded();
        things::table.find(id).first(conn).await.optional()
    }

    /// The item, once it is there.
    #[cached(tags = ["item:{id}"], cache_none = false)]
    pub async fn present(&self, conn: &mut Conn, id: i64) -> QueryResult<Option<Item>> {
        self.loaded();
        things::table.find(id).first(conn).await.optional()
    }

    /// Takes a while; fails if there is no such item.
    #[cached(tags = ["item:{id}"])]
    pub async fn slow(&self, conn: &mut Conn, id: i64, seconds: f64) -> QueryResult<Item> {
        self.loaded();
        diesel::select(pg_sleep(seconds)).execute(conn).await?;
        things::table.find(id).first(conn).await
    }

    /// Sets an item's value.
    #[write(invalidates = ["item:{id}", "items"])]
    pub async fn set(&self, conn: &mut Conn, id: i64, value: i64) -> QueryResult<Item> {
        put(conn, id, value).await
    }

    /// Sets an item's value and keeps it where [`Shelf::find`] looks.
    #[write(invalidates = ["items"], write_through = find(id))]
    pub async fn store(&self, conn: &mut Conn, id: i64, value: i64) -> QueryResult<Option<Item>> {
        put(conn, id, value).await.map(Some)
    }

    /// Sets an item's value; the tag is found in what is returned.
    #[write(invalidates = ["item:{ret.id}"])]
    pub async fn bump(&self, conn: &mut Conn, which: i64) -> QueryResult<Item> {
        diesel::update(things::table.find(which)).set(things::value.eq(things::value + 1)).get_result(conn).await
    }

    /// Sets an item's value and forgets to say so.
    #[write]
    pub async fn set_silently(&self, conn: &mut Conn, id: i64, value: i64) -> QueryResult<Item> {
        put(conn, id, value).await
    }
}

async fn put(conn: &mut Conn, id: i64, value: i64) -> QueryResult<Item> {
    diesel::insert_into(things::table)
        .values((things::id.eq(id), things::value.eq(value)))
        .on_conflict(things::id)
        .do_update()
        .set(things::value.eq(value))
        .get_result(conn)
        .await
}

/// Waits until what was loaded so far is in Redis.
pub async fn until_stored(shelf: &Shelf, results: u64) {
    let stored = async || shelf.db.cache().status().l2_stored >= results;
    crate::until("the results are in Redis", Duration::from_secs(5), stored).await;
}
