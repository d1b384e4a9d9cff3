#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read]
    pub async fn owned(self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read]
    pub async fn exclusive(&mut self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read]
    pub async fn boxed(self: Box<Self>, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[read]
    pub async fn none(conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }
}

fn main() {}
