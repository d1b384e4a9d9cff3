#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read(max_stalenes = "2s")]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[read(timeout = "2s")]
    pub async fn board(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        self.find_in(conn, id).await
    }

    // Other mistakes are still found, and the callers of `find` still type-check.
    pub async fn plain(&self) -> QueryResult<i64> {
        self.find(7).await
    }
}

fn main() {}
