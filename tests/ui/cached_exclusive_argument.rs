#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[cached(ttl = "5m")]
    pub async fn find(&self, conn: &mut Conn, into: &mut Vec<i64>) -> QueryResult<i64> {
        into.push(1);
        Ok(1)
    }
}

fn main() {}
