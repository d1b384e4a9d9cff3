#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[batched]
    pub async fn many(&self, conn: &mut Conn, ids: Vec<i64>) -> QueryResult<Vec<i64>> {
        Ok(ids)
    }

    #[batched(one = "find")]
    pub async fn quoted(&self, conn: &mut Conn, ids: Vec<i64>) -> QueryResult<Vec<i64>> {
        Ok(ids)
    }
}

fn main() {}
