//! Compiles only if generated code finds dbopt-diesel under the name that this package's Cargo.toml gives it.

use db::prelude::*;
use diesel::QueryResult;
use diesel_async::AsyncPgConnection;

/// A repository that calls the framework `db`, and its own field too.
pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    /// The repository on `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// A read.
    #[read(max_staleness = "2s")]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        let _ = conn;
        Ok(id)
    }

    /// A write.
    #[write(idempotent)]
    pub async fn touch(&self, conn: &mut AsyncPgConnection, names: Vec<String>) -> QueryResult<usize> {
        let _ = conn;
        Ok(names.len())
    }
}

/// The same as free functions.
#[repository]
pub mod flights {
    use super::*;

    /// A read.
    #[read]
    pub async fn find(conn: &mut Conn, id: i64) -> QueryResult<i64> {
        let _ = conn;
        Ok(id)
    }
}
