//! R5: results kept in memory and in Redis.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicU64, Ordering};

use dbopt_diesel::prelude::*;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

diesel::table! { things (id) { id -> BigInt, name -> Text, } }

#[derive(Clone)]
struct Things {
    db: Db,
}

static BODIES: AtomicU64 = AtomicU64::new(0);

#[repository]
impl Things {
    #[cached(tags = ["thing:{id}"])]
    async fn name(&self, conn: &mut Conn, id: i64) -> QueryResult<Option<String>> {
        BODIES.fetch_add(1, Ordering::Relaxed);
        things::table.find(id).select(things::name).first(conn).await.optional()
    }

    #[write(invalidates = ["thing:{id}"])]
    async fn rename(&self, conn: &mut Conn, id: i64, name: &str) -> QueryResult<usize> {
        diesel::update(things::table.find(id)).set(things::name.eq(name)).execute(conn).await
    }
}
