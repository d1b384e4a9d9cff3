#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

pub struct Flight {
    id: i64,
}

#[repository]
impl Flights {
    #[cached(ttl = "5m")]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<Flight> {
        Ok(Flight { id })
    }

    #[cached(ttl = "5m", layers = "l1")]
    pub async fn in_memory(&self, conn: &mut Conn, id: i64) -> QueryResult<Flight> {
        Ok(Flight { id })
    }
}

fn main() {}
