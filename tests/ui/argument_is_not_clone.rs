#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read]
    pub async fn find(&self, conn: &mut Conn, filters: Vec<Filter>) -> QueryResult<usize> {
        Ok(filters.len())
    }

    // A write runs once, so its arguments are moved.
    #[write]
    pub async fn delay(&self, conn: &mut Conn, filters: Vec<Filter>) -> QueryResult<usize> {
        Ok(filters.len())
    }
}

pub struct Filter;

fn main() {}
