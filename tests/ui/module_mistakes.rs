#![allow(unused)]

use dbopt_diesel::prelude::*;

#[repository]
mod flights {
    use super::*;
    use diesel::QueryResult;

    #[read]
    pub async fn no_connection(id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[read]
    pub async fn late(id: i64, conn: &mut Conn) -> QueryResult<i64> {
        Ok(id)
    }

    #[read]
    pub struct Row;
}

fn main() {}
