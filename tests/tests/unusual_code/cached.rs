//! Cached reads of every shape.
#![deny(warnings)]
#![allow(clippy::non_minimal_cfg, reason = "an empty `all()` is a case of its own")]
#![allow(dead_code)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

pub struct Filter<'a> {
    airport: &'a str,
    range: (i64, i64),
}

pub trait Row {
    const NUMBER: i64;
}

#[repository]
impl Flights {
    #[cached]
    async fn nothing_said(&self, conn: &mut Conn) -> QueryResult<Vec<i64>> {
        let _ = conn;
        Ok(vec![])
    }

    #[cached(
        "flight:{id}",
        "flights",
        ttl = "5m",
        l1_ttl = "10s",
        vary = [user],
        cache_none = false,
        stale_if_error = "1m",
        refresh_ahead = 0.8
    )]
    pub async fn every_option(&self, conn: &mut Conn, id: i64, name: &str) -> QueryResult<Option<String>> {
        let _ = (conn, id);
        Ok(Some(name.to_owned()))
    }

    #[read(from = "primary")]
    #[cached(consistency = "strong", layers = "l2")]
    async fn slices(&self, conn: &mut Conn, ids: &[i64], names: Vec<String>) -> QueryResult<usize> {
        let _ = conn;
        Ok(ids.len() + names.len())
    }

    #[cached(key = "filter:{filter.airport}:{filter.range.0}:{r#type}", tags = ["{{airport}}:{filter.airport}"])]
    async fn fields(&self, conn: &mut Conn, filter: &Filter<'_>, r#type: i32) -> QueryResult<i64> {
        let _ = (conn, r#type);
        Ok(filter.range.1)
    }

    #[cached(tags = ["{number}"])]
    async fn patterns(&self, _: &mut Conn, (a, _): (i64, i64), mut number: i64, _: i64) -> QueryResult<i64> {
        number += a;
        Ok(number)
    }

    #[cached]
    async fn generics<'a, T: Row + Send, const N: usize>(&'a self, conn: &mut Conn, ids: Vec<i64>) -> QueryResult<i64>
    where
        T: Sync,
    {
        let _ = conn;
        Ok(T::NUMBER + ids.into_iter().sum::<i64>())
    }

    #[cached]
    async fn impl_arguments<T: Row>(
        &self,
        conn: &mut Conn,
        names: &[impl AsRef<str> + Sync + serde::Serialize],
    ) -> QueryResult<usize> {
        let _ = conn;
        Ok(names.len())
    }

    #[cached]
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
    #[cached]
    async fn conditional_method(&self, _conn: &mut Conn, b: Missing) -> QueryResult<i32> {
        Ok(a + c)
    }

    #[cached]
    async fn many_arguments(
        &self,
        _conn: &mut Conn,
        a: i64,
        b: i64,
        c: i64,
        d: i64,
        e: i64,
        f: i64,
        g: i64,
        h: i64,
        i: i64,
        j: i64,
        k: i64,
        l: i64,
        m: i64,
    ) -> QueryResult<i64> {
        Ok(a + b + c + d + e + f + g + h + i + j + k + l + m)
    }

    #[cached(vary = [user])]
    async fn of_the_caller(&self, _conn: &mut Conn) -> QueryResult<Option<String>> {
        Ok(Context::current().and_then(|context| context.user_id().map(str::to_owned)))
    }

    /// What is deprecated is written out, and used, without a warning.
    #[deprecated(note = "use another")]
    #[cached]
    #[must_use]
    pub async fn old(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        let _ = conn;
        Ok(id)
    }
}

/// Kept in memory only, a value needs no format.
#[derive(Clone)]
pub struct Plain;

#[repository]
pub mod flights {
    use super::*;

    #[cached(layers = "l1", tags = ["plain:{id}"])]
    pub async fn find(conn: &mut Conn, id: i64) -> QueryResult<Plain> {
        let _ = (conn, id);
        Ok(Plain)
    }

    #[cached]
    pub async fn of<T: Row>(conn: &mut Conn, db: i64) -> QueryResult<i64> {
        let _ = conn;
        Ok(T::NUMBER + db)
    }
}

pub struct Repo<T> {
    db: Db,
    row: T,
}

#[repository]
impl<T: Clone + Send + Sync> Repo<T> {
    #[cached]
    pub async fn all(&self, _conn: &mut Conn) -> QueryResult<Vec<i64>> {
        Ok(vec![])
    }
}

fn is_send<T: Send>(_: T) {}

fn spawned<T: Row + Send + Sync>(flights: &Flights, db: &Db, repo: &Repo<String>) {
    is_send(flights.nothing_said());
    is_send(flights.every_option(1, "a"));
    is_send(flights.slices(&[1], vec![]));
    is_send(flights.fields(&Filter { airport: "ZRH", range: (1, 2) }, 1));
    is_send(flights.patterns((1, 2), 3, 4));
    is_send(flights.generics::<T, 2>(vec![1, 2]));
    is_send(flights.impl_arguments::<T>(&["a"]));
    is_send(flights.conditional_arguments(1, 2));
    is_send(flights.many_arguments(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13));
    is_send(flights.of_the_caller());
    is_send(self::flights::find(db, 1));
    is_send(self::flights::of::<T>(db, 1));
    is_send(repo.all());
}
