#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    pub async fn find_in(&self, id: i64) -> QueryResult<i64> {
        Ok(id)
    }
}

fn main() {}
