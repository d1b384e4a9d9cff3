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

    #[read]
    #[rate_limited(per_user = "100/min", cost = 5)]
    pub async fn board(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    // The callers of what cannot run yet still type-check.
    pub async fn plain(&self) -> QueryResult<Vec<i64>> {
        self.many(vec![7]).await
    }
}

fn main() {}
