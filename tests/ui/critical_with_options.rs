#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[critical(priority = 1)]
    pub async fn cancel(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[critical("high")]
    pub async fn delay(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }
}

fn main() {}
