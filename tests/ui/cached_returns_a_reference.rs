#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[cached(ttl = "5m")]
    pub async fn name(&self, conn: &mut Conn, name: &str) -> QueryResult<&str> {
        Ok("a")
    }

    #[cached(ttl = "5m")]
    pub async fn inside<'a>(&self, conn: &mut Conn, name: &'a str) -> QueryResult<Option<std::borrow::Cow<'a, str>>> {
        Ok(Some(name.into()))
    }
}

fn main() {}
