#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[batched(one = one)]
    pub async fn many(&self, conn: &mut Conn, ids: Vec<i64>) -> QueryResult<Vec<i64>> {
        Ok(ids)
    }

    // The callers of what cannot run yet still type-check.
    pub async fn plain(&self) -> QueryResult<Vec<i64>> {
        self.many(vec![7]).await
    }
}

fn main() {}
