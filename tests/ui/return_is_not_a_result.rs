#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> Option<i64> {
        Some(id)
    }

    #[read]
    pub async fn number(&self, conn: &mut Conn, id: i64) -> Found {
        Found
    }
}

pub struct Found;

fn main() {}
