#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read(max_staleness = "2s", max_staleness = "5s")]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }
}

fn main() {}
