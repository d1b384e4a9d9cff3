//! Everything a signature can have, and a `Send` future of each.
#![deny(warnings)]
#![allow(clippy::non_minimal_cfg, reason = "an empty `all()` is a case of its own")]
#![allow(dead_code)]

use std::cell::Cell;

use dbopt_diesel::prelude::*;
use diesel::QueryResult;
use diesel_async::AsyncPgConnection;

pub struct Flights {
    db: Db,
}

pub trait Table {
    const NAME: &'static str;
}

pub struct Point {
    x: i32,
    y: i32,
}

#[repository]
impl Flights {
    #[read]
    async fn lifetimes<'a, 'c>(&'a self, conn: &'c mut Conn, name: &'a str) -> QueryResult<&'a str> {
        let _ = conn;
        Ok(name)
    }

    #[read]
    async fn generics<T: Default + Send, const N: usize>(&self, conn: &mut Conn, ids: [i32; N]) -> QueryResult<(T, i32)>
    where
        T: Clone,
    {
        let _ = conn;
        Ok((T::default(), ids.into_iter().sum()))
    }

    #[read]
    async fn type_used_in_the_body_only<T: Table>(&self, _conn: &mut Conn) -> QueryResult<&'static str> {
        Ok(T::NAME)
    }

    #[read]
    async fn impl_arguments<T: Table>(
        &self,
        _: &mut Conn,
        names: &[impl AsRef<str> + Sync],
        last: impl AsRef<str> + Clone + Send + Sync,
    ) -> QueryResult<usize> {
        Ok(names.len() + last.as_ref().len())
    }

    #[read]
    async fn impl_result(&self, _conn: &mut Conn) -> QueryResult<impl Iterator<Item = i32> + use<>> {
        Ok([1, 2].into_iter())
    }

    #[write]
    async fn patterns(
        &self,
        mut conn: &AsyncPgConnection,
        (a, _b): (i32, String),
        Point { x, y }: Point,
        _: String,
        mut rest: Vec<i32>,
        arg1: i32,
        r#type: i32,
    ) -> QueryResult<i32> {
        let _ = &mut conn;
        rest.push(a + x + y + arg1 + r#type);
        Ok(rest.len() as i32)
    }

    #[read]
    async fn not_sync(&self, _conn: &Conn, cell: Cell<i32>) -> QueryResult<i32> {
        Ok(cell.get())
    }

    #[read]
    async fn conditional_arguments(
        &self,
        _conn: &mut Conn,
        #[cfg(all())] a: i32,
        #[cfg(any())] b: Missing,
        c: i32,
    ) -> QueryResult<i32> {
        Ok(a + c)
    }

    #[cfg(any())]
    #[read]
    async fn conditional_method(&self, _conn: &mut Conn, b: Missing) -> QueryResult<i32> {
        Ok(a + c)
    }

    #[write]
    async fn exclusive_argument(&self, _conn: &mut Conn, into: &mut Vec<i32>) -> QueryResult<()> {
        into.push(1);
        Ok(())
    }
}

fn is_send<T: Send>(_: T) {}

fn spawned<T: Table>(flights: &Flights) {
    is_send(flights.lifetimes("a"));
    is_send(flights.generics::<i32, 2>([1, 2]));
    is_send(flights.type_used_in_the_body_only::<T>());
    is_send(flights.impl_arguments::<T>(&["a"], "b"));
    is_send(flights.impl_result());
    let point = Point { x: 1, y: 2 };
    is_send(flights.patterns((1, String::new()), point, String::new(), vec![], 1, 2));
    is_send(flights.not_sync(Cell::new(1)));
    is_send(flights.conditional_arguments(1, 2));
    is_send(flights.exclusive_argument(&mut vec![]));
}
