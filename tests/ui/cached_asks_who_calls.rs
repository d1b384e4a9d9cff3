#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
#[deny(deprecated)]
impl Flights {
    #[cached(ttl = "5m")]
    pub async fn mine(&self, conn: &mut Conn) -> QueryResult<i64> {
        let context = Context::current();
        let user = context.as_ref().and_then(|context| context.user_id());
        Ok(user.map_or(0, |user| user.len() as i64))
    }

    #[cached(ttl = "5m", vary = [user])]
    pub async fn varied(&self, conn: &mut Conn) -> QueryResult<bool> {
        Ok(Context::current().is_some())
    }

    #[cached(ttl = "5m", key = "mine:{user}")]
    pub async fn keyed(&self, conn: &mut Conn, user: &str) -> QueryResult<bool> {
        Ok(Context::current().is_some())
    }
}

fn main() {}
