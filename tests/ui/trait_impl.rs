#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[allow(async_fn_in_trait)]
pub trait Find {
    async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<i64>;
}

#[repository]
impl Find for Flights {
    #[read]
    async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }
}

fn main() {}
