#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read(max_staleness = "2")]
    pub async fn no_unit(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read(max_staleness = "2min")]
    pub async fn unknown_unit(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read(max_staleness = "0s")]
    pub async fn zero(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read(max_staleness = "1.5s")]
    pub async fn fraction(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read(max_staleness = "soon")]
    pub async fn word(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }
}

fn main() {}
