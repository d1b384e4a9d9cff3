#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[cached(ttl = "5m")]
    pub async fn ids(&self, conn: &mut Conn) -> QueryResult<impl Iterator<Item = i64> + use<>> {
        Ok([1, 2].into_iter())
    }
}

fn main() {}
