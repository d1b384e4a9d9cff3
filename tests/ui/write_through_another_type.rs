#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[cached("flight:{id}")]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<Option<i64>> {
        Ok(Some(id))
    }

    #[write(write_through = find(id))]
    pub async fn value(&self, conn: &mut Conn, id: i64) -> QueryResult<String> {
        Ok(id.to_string())
    }

    #[write(write_through = find(name))]
    pub async fn argument(&self, conn: &mut Conn, name: &str) -> QueryResult<Option<i64>> {
        Ok(None)
    }
}

fn main() {}
