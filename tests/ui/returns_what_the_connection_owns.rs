#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read]
    pub async fn find<'c>(&self, conn: &'c mut Conn) -> QueryResult<&'c str> {
        let _ = conn;
        Ok("")
    }
}

fn main() {}
