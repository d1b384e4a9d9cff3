//! The smallest program on dbopt: `DBOPT_DATABASE_URL=postgres://.. cargo run -p dbopt-examples --bin quickstart`
#![expect(missing_docs, reason = "a program, not a library")]

// ANCHOR: imports
use dbopt_diesel::prelude::*;
use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
// ANCHOR_END: imports

// ANCHOR: repository
diesel::table! {
    notes (id) {
        id -> Int8,
        text -> Text,
    }
}

#[derive(Clone)]
struct Notes {
    db: Db,
}

#[repository]
impl Notes {
    /// Runs on a replica, where there is one.
    #[read]
    async fn latest(&self, conn: &mut Conn, count: i64) -> QueryResult<Vec<(i64, String)>> {
        notes::table.order(notes::id.desc()).limit(count).load(conn).await
    }

    /// Runs on the primary, in a transaction.
    #[write]
    async fn add(&self, conn: &mut Conn, text: &str) -> QueryResult<i64> {
        diesel::insert_into(notes::table).values(notes::text.eq(text)).returning(notes::id).get_result(conn).await
    }

    #[write]
    async fn create(&self, conn: &mut Conn) -> QueryResult<()> {
        conn.batch_execute("CREATE TABLE IF NOT EXISTS notes (id bigserial PRIMARY KEY, text text NOT NULL)").await
    }
}
// ANCHOR_END: repository

// ANCHOR: main
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let db = Db::connect(Config::load()?).await?; // dbopt.toml, then DBOPT_* variables
    let notes = Notes { db: db.clone() };

    // Within a context everyone reads their own writes, also from replicas.
    let work = async {
        notes.create().await?;
        notes.add("hello").await?;
        notes.latest(3).await
    };
    println!("{:?}", Context::user("alice").scope(work).await?);
    db.shutdown().await;
    Ok(())
}
// ANCHOR_END: main
