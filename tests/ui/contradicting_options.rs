#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read(from = "primary", max_staleness = "2s")]
    pub async fn never_behind(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[critical]
    #[read(max_staleness = "2s")]
    pub async fn critical_read(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[cached(ttl = "1m", l1_ttl = "5m")]
    pub async fn longer_in_l1(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[cached(consistency = "strong", stale_if_error = "1m")]
    pub async fn strong_and_stale(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[cached("a", tags = ["b"])]
    pub async fn two_lists(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }
}

fn main() {}
