#![allow(unused)]

use dbopt_diesel::{Conn, Db, batched, cached, critical, rate_limited, read, write};
use diesel::QueryResult;

pub struct Flights {
    pub db: Db,
}

impl Flights {
    #[read(max_staleness = "2s")]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        let _ = conn;
        Ok(id)
    }

    #[write]
    pub async fn delay(&self) {}

    #[critical]
    pub async fn cancel(&self) {}

    #[cached("flights")]
    pub async fn all(&self) {}

    #[batched(one = find)]
    pub async fn many(&self) {}

    #[rate_limited]
    pub async fn board(&self) {}
}

fn main() {}
