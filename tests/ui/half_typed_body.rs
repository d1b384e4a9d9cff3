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
        self.
    }

    #[read]
    pub async fn board(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        let found = self.find_in(conn, id).await?
        Ok(found)
    }
}

fn main() {}
