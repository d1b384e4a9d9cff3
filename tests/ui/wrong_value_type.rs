#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read(max_staleness = 2)]
    pub async fn number(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read(max_staleness)]
    pub async fn no_value(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read(max_staleness("2s"))]
    pub async fn parentheses(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read = "2s"]
    pub async fn equals(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read("2s")]
    pub async fn no_name(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[write(idempotent = true)]
    pub async fn flag(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[write(transaction = "false")]
    pub async fn quoted(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read(from = primary)]
    pub async fn unquoted(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }
}

fn main() {}
