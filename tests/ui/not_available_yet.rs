#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[cached(ttl = "5m", tags = ["flight:{id}", "flights"])]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[batched(one = one)]
    pub async fn many(&self, conn: &mut Conn, ids: Vec<i64>) -> QueryResult<Vec<i64>> {
        Ok(ids)
    }

    #[read]
    #[rate_limited(per_user = "100/min", cost = 5)]
    pub async fn board(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[write(invalidates = ["flight:{id}", "airline:{ret.airline}"], write_through = find(id))]
    pub async fn delay(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    // The callers of what cannot run yet still type-check.
    pub async fn plain(&self) -> QueryResult<i64> {
        let _ = self.many(vec![7]).await?;
        self.find(7).await
    }
}

fn main() {}
