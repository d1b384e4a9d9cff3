#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read]
    #[rate_limited(per_user = "5/s, 3/min", global = "5/s, 300/min")]
    pub async fn find(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read]
    #[rate_limited(per_user = "5/s, 7/s", cost = "db_s")]
    pub async fn board(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read]
    #[rate_limited(per_user = "100/min", global = "50/min", cost = 60)]
    pub async fn dear(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read]
    #[rate_limited(key = "{customer}")]
    pub async fn orders(&self, conn: &mut Conn, custommer: i64) -> QueryResult<()> {
        Ok(())
    }
}

fn main() {}
