//! A repository that another macro writes.
#![deny(warnings)]
#![allow(dead_code)]

use dbopt_diesel::prelude::*;
use diesel::QueryResult;

macro_rules! repository_of {
    ($name:ident, $conn:ty, $row:ty, $find:ident, $body:block) => {
        pub struct $name {
            db: Db,
        }

        #[repository]
        impl $name {
            #[read]
            pub async fn $find(&self, conn: $conn, ids: Vec<$row>) -> QueryResult<$row> {
                let _ = (conn, ids);
                Ok(<$row>::default())
            }

            #[write]
            pub async fn touch(&self, _conn: $conn) -> QueryResult<i32> $body
        }
    };
}

repository_of!(Flights, &mut Conn, i64, find, { Ok(1) });
repository_of!(Airports, &Conn, String, by_code, { Ok(2) });
