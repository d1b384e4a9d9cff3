#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read]
    #[rate_limited(per_user = "100", global = "0/min", cost = 0)]
    pub async fn find(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read]
    #[rate_limited(per_user = "5/second", global = 100, key = "")]
    pub async fn board(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read]
    #[rate_limited(per_user = "100/fortnight", cost = -1)]
    pub async fn never(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[rate_limited]
    pub async fn neither_read_nor_write(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }
}

fn main() {}
