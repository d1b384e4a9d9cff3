#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read]
    pub async fn find(&self, conn: &mut Conn, into: &mut Vec<i64>) -> QueryResult<()> {
        into.push(1);
        Ok(())
    }

    #[write]
    pub async fn delay(&self, conn: &mut Conn, into: &mut Vec<i64>) -> QueryResult<()> {
        into.push(1);
        Ok(())
    }
}

fn main() {}
