//! Attributes go where they mean something.
#![deny(warnings, missing_docs)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

/// A repository.
pub struct Flights {
    db: Db,
}

#[repository]
#[allow(clippy::needless_lifetimes)]
impl Flights {
    #![allow(clippy::unused_async)]

    /// The instrumented body has the connection, so it can be skipped by name.
    #[tracing::instrument(skip(self, conn), err)]
    #[read]
    #[must_use]
    #[expect(unused_mut, reason = "true of the body only")]
    pub async fn find(&self, conn: &mut Conn, mut id: i64) -> QueryResult<i64> {
        let _ = conn;
        Ok(id)
    }

    /// Both are deprecated, and calling one from the other is no warning.
    #[deprecated(note = "use `find`")]
    #[read]
    pub async fn old(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        self.find_in(conn, id).await
    }

    /// Longer paths are not ours.
    #[dbopt_diesel::read]
    #[cfg_attr(all(), doc = "More.", tracing::instrument(skip(self, conn)))]
    pub async fn qualified(&self, conn: &mut Conn, id: i64) -> QueryResult<i64> {
        self.find_in(conn, id).await
    }

    /// Stays as it is.
    pub fn plain(&self) -> &Db {
        &self.db
    }
}
