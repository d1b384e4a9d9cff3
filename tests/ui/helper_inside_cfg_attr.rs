#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[cfg_attr(all(), read)]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }
}

fn main() {}
