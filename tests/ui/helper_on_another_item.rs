#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read]
    const LIMIT: i64 = 10;

    #[critical]
    #[write(idempotent)]
    const ROW: i64 = 1;
}

fn main() {}
