#![allow(unused)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read]
    pub async fn none(&self) -> QueryResult<()> {
        Ok(())
    }

    #[read]
    pub async fn other(&self, id: i64) -> QueryResult<i64> {
        Ok(id)
    }

    #[read]
    pub async fn late(&self, id: i64, conn: &mut Conn) -> QueryResult<i64> {
        Ok(id)
    }

    #[read]
    pub async fn owned(&self, conn: Conn) -> QueryResult<()> {
        Ok(())
    }

    // Callers see the signature as it was written.
    pub async fn plain(&self) -> QueryResult<i64> {
        self.none().await?;
        self.other(7).await
    }
}

fn main() {}
