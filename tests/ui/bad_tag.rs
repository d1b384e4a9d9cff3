#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[cached("flight:{id", "flight:{}", "flight:{id:?}", "", "flight:{id + 1}")]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[write(invalidates = [flights])]
    pub async fn no_quotes(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[write(invalidates = "flights")]
    pub async fn no_list(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }

    #[write(invalidates = [])]
    pub async fn empty_list(&self, conn: &mut Conn) -> QueryResult<()> {
        Ok(())
    }
}

fn main() {}
