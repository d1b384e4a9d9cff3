#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[write]
    pub async fn delay(&self, conn: &mut Conn, id: i64) {
        let _ = id;
    }
}

fn main() {}
