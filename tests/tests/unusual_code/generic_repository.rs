//! `Self` may be generic, and hold its database anywhere.
#![deny(warnings)]
#![allow(dead_code)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Repo<T, const N: usize> {
    inner: Inner,
    row: [T; N],
}

pub struct Inner {
    db: Db,
}

impl Inner {
    fn db(&self) -> &Db {
        &self.db
    }
}

#[repository(db = self.inner.db, crate = dbopt_diesel)]
impl<T: Clone + Send + Sync, const N: usize> Repo<T, N>
where
    T: 'static,
{
    #[read]
    pub async fn find(&self, _conn: &mut Conn, row: T) -> QueryResult<T> {
        Ok(row)
    }

    #[write]
    pub async fn store(&self, conn: &mut Conn, row: T) -> QueryResult<T> {
        self.find_in(conn, row).await
    }
}

#[repository(db = self.inner.db())]
impl Repo<u8, 1> {
    #[read]
    pub async fn one(&self, _conn: &mut Conn) -> QueryResult<u8> {
        Ok(self.row[0])
    }
}

fn is_send<T: Send>(_: T) {}

fn spawned(repo: &Repo<String, 2>) {
    is_send(repo.store(String::new()));
}
