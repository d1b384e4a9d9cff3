#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[cached(key = "flight:{idd}", tags = ["airport:{airport}", "day:{date}"])]
    pub async fn find(&self, conn: &mut Conn, id: i64, airport: &str) -> QueryResult<i64> {
        Ok(id)
    }

    #[cached("flight:{id}")]
    pub async fn all(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read]
    #[rate_limited(key = "{user}")]
    pub async fn limited(&self, conn: &mut Conn, customer: i64) -> QueryResult<()> {
        Ok(())
    }

    #[write(invalidates = ["flight:{flight}"], write_through = find(flight))]
    pub async fn delay(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }
}

fn main() {}
