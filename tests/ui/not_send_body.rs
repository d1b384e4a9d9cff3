#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        let shared = std::rc::Rc::new(id);
        self.other_in(conn).await?;
        Ok(*shared)
    }

    #[read]
    pub async fn other(&self, conn: &mut Conn) -> QueryResult<()> {
        let _ = conn;
        Ok(())
    }
}

fn is_send<T: Send>(_: T) {}

fn spawned(flights: &Flights) {
    is_send(flights.find(7));
}

fn main() {}
