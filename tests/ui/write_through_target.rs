#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[cached("flight:{id}")]
    pub async fn find(&self, conn: &mut Conn, id: i64, day: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[read]
    pub async fn not_cached(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    pub async fn plain(&self) {}

    #[cached]
    pub async fn without_tags(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[cached("flights")]
    pub async fn generic<T: Send + Sync + ToString>(&self, conn: &mut Conn) -> QueryResult<i64> {
        Ok(1)
    }

    #[cached("flights")]
    pub async fn conditional(&self, conn: &mut Conn, #[cfg(all())] id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[write(write_through = fnd(id))]
    pub async fn typing_mistake(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[write(write_through = find(id))]
    pub async fn too_few(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[write(write_through = not_cached(id))]
    pub async fn to_a_read(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[write(write_through = plain())]
    pub async fn to_a_method(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[write(write_through = without_tags(id))]
    pub async fn to_what_nothing_invalidates(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[write(write_through = generic())]
    pub async fn to_a_generic_one(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[write(write_through = conditional(id))]
    pub async fn to_a_conditional_one(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        Ok(id)
    }
}

fn main() {}
