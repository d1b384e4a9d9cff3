#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[derive(Clone)]
pub struct Airport {
    code: String,
}

#[repository]
impl Flights {
    #[cached(tags = ["airport:{airport}"])]
    pub async fn board(&self, conn: &mut Conn, airport: String, names: Vec<String>) -> QueryResult<i64> {
        Ok(1)
    }

    #[write(invalidates = ["airport:{airport}", "airport:{airport.cod}", "board:{ret}", "board:{ret.code}"])]
    pub async fn close(&self, conn: &mut Conn, airport: Airport) -> QueryResult<Option<Airport>> {
        Ok(Some(airport))
    }
}

fn main() {}
