//! Writes that change what is cached.
#![deny(warnings)]
#![allow(clippy::non_minimal_cfg, reason = "an empty `all()` is a case of its own")]
#![allow(dead_code)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct Flight {
    id: i64,
    airline: String,
    number: (String, i32),
}

pub struct Change {
    id: i64,
    airline: String,
}

#[repository]
impl Flights {
    #[cached(tags = ["flight:{id}", "flights"])]
    async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<Flight> {
        let _ = conn;
        Ok(Flight { id, airline: "LX".to_owned(), number: ("LX".to_owned(), 8) })
    }

    #[cached(key = "number:{airline}:{number}", tags = ["airline:{airline}"])]
    async fn by_number(&self, conn: &mut Conn, airline: &str, number: i32, _day: i64) -> QueryResult<Flight> {
        self.find_in(conn, i64::from(number) + airline.len() as i64).await
    }

    #[cached(tags = ["flights"])]
    async fn first(&self, conn: &mut Conn) -> QueryResult<Flight> {
        self.find_in(conn, 1).await
    }

    /// Tags of arguments alone, which the body consumes.
    #[write(invalidates = ["flight:{change.id}", "airline:{change.airline}", "flights"])]
    pub async fn change(&self, conn: &mut Conn, change: Change) -> QueryResult<String> {
        let _ = conn;
        Ok(change.airline)
    }

    /// The instrumented body has the connection.
    #[tracing::instrument(skip(self, conn), err)]
    #[write(invalidates = ["{{}}:{ret.airline}:{minutes}:{ret.number.0}"], write_through = find(ret.id))]
    #[must_use]
    pub async fn delay(&self, conn: &mut Conn, id: i64, minutes: i32) -> QueryResult<Flight> {
        let _ = minutes;
        self.find_in(conn, id).await
    }

    #[write(idempotent, write_through = by_number(&ret.airline, ret.number.1, 3))]
    async fn by_references(&self, conn: &mut Conn, airline: String) -> QueryResult<Flight> {
        drop(airline);
        self.find_in(conn, 1).await
    }

    #[write(write_through = by_number(&airline, 7, change.id), invalidates = ["airline:{airline}", "flights"])]
    async fn moved(&self, _: &mut Conn, airline: String, change: &Change, conn: i64) -> QueryResult<Flight> {
        let id = conn + change.id;
        Ok(Flight { id, airline, number: (String::new(), 0) })
    }

    #[write(write_through = first(), transaction = false)]
    async fn shared(&self, conn: &Conn) -> QueryResult<Flight> {
        let _ = conn;
        Ok(Flight { id: 1, airline: String::new(), number: (String::new(), 0) })
    }

    #[critical]
    #[write(invalidates = ["count:{ret}"])]
    async fn count<'a, 'c, T: ToString + Send, const N: usize>(
        &'a self,
        conn: &'c mut Conn,
        (a, _b): (i64, i64),
        name: &'a str,
        of: T,
        each: [i64; N],
    ) -> QueryResult<i64>
    where
        T: Sync,
    {
        let _ = (conn, name, each);
        Ok(a + of.to_string().len() as i64)
    }

    #[write(invalidates = ["b:{c}"])]
    async fn conditional_arguments(
        &self,
        _conn: &mut Conn,
        #[cfg(all())] a: i32,
        #[cfg(any())] b: Missing,
        c: i32,
    ) -> QueryResult<i32> {
        Ok(a + c)
    }

    /// Both are deprecated.
    #[deprecated(note = "use `delay`")]
    #[write(invalidates = ["flights"])]
    pub async fn old(&self, conn: &mut Conn, id: i64) -> QueryResult<Flight> {
        self.find_in(conn, id).await
    }
}

#[repository]
mod flights {
    use super::*;

    #[cached("flight:{id}")]
    pub async fn find(conn: &mut Conn, id: i64) -> QueryResult<i64> {
        let _ = conn;
        Ok(id)
    }

    #[write(invalidates = ["flights"], write_through = find(db))]
    pub async fn store(conn: &mut Conn, db: i64) -> QueryResult<i64> {
        let _ = conn;
        Ok(db)
    }
}

fn is_send<T: Send>(_: T) {}

fn spawned(flights: &Flights, conn: &mut Conn, db: &Db) {
    let change = Change { id: 1, airline: String::new() };
    is_send(flights.moved(String::new(), &change, 1));
    is_send(flights.moved_in(conn, String::new(), &change, 1));
    is_send(flights.change(change));
    is_send(flights.delay(1, 2));
    is_send(flights.delay_in(conn, 1, 2));
    is_send(flights.by_references(String::new()));
    is_send(flights.shared_in(conn));
    is_send(flights.count((1, 2), "a", 3, [4]));
    is_send(flights.count_in(conn, (1, 2), "a", 3, [4]));
    is_send(flights.conditional_arguments_in(conn, 1, 2));
    is_send(self::flights::store(db, 1));
    is_send(self::flights::store_in(conn, 1));
}
