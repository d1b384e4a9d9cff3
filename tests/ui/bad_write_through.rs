#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[write(write_through = "find(id)")]
    pub async fn quoted(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[write(write_through = self.find(id))]
    pub async fn method_call(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[write(write_through = Self::find(id))]
    pub async fn path(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[write(write_through = find(id + 1))]
    pub async fn computed(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }
}

fn main() {}
