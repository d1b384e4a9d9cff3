#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    inner: Inner,
}

pub struct Inner {
    db: Db,
}

#[repository]
impl Flights {
    #[read]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }
}

#[repository(db = self.inner.database)]
impl Flights {
    #[read]
    pub async fn board(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }
}

fn main() {}
