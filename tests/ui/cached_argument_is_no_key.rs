#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

pub struct Filter {
    airport: String,
}

#[repository]
impl Flights {
    #[cached(ttl = "5m")]
    pub async fn find(&self, conn: &mut Conn, id: i64, filter: &Filter) -> QueryResult<i64> {
        Ok(id)
    }
}

fn main() {}
