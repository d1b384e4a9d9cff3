#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[cached(ttl = "0s")]
    pub async fn nothing_kept(&self, conn: &mut Conn) -> QueryResult<i64> {
        Ok(1)
    }

    #[cached(ttl = "5m", refresh_ahead = 0.05)]
    pub async fn always_refreshed(&self, conn: &mut Conn) -> QueryResult<i64> {
        Ok(1)
    }

    #[cached(ttl = "5m", refresh_ahead = 1.0)]
    pub async fn never_refreshed(&self, conn: &mut Conn) -> QueryResult<i64> {
        Ok(1)
    }
}

fn main() {}
