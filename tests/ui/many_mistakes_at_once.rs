#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository(databse = self.db, crate = "dbopt_diesel")]
impl Flights {
    #[read(max_staleness = "2", from = "replica", form = "primary")]
    #[write]
    pub fn find(self, id: i64) -> i64 {
        id
    }
}

fn main() {}
