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

macro_rules! cached_repository_of {
    ($name:ident, $row:ty, $argument:ident: $key:ty, $find:ident, $tag:literal, $ttl:literal, $body:block) => {
        pub struct $name {
            db: Db,
        }

        #[repository]
        impl $name {
            #[cached($tag, ttl = $ttl)]
            pub async fn $find(&self, _conn: &mut Conn, $argument: $key) -> QueryResult<$row> $body

            #[cached(tags = [$tag], key = $tag)]
            pub async fn keyed(&self, conn: &mut Conn, $argument: $key) -> QueryResult<$row> {
                Self::find_again(self, conn, $argument).await
            }

            async fn find_again(&self, _conn: &mut Conn, $argument: $key) -> QueryResult<$row> $body

            #[write(invalidates = [$tag, "all:{ret}:{other}"], write_through = $find($argument))]
            pub async fn store(&self, _conn: &mut Conn, $argument: $key, other: String) -> QueryResult<$row> {
                drop(other);
                Ok(<$row>::from($argument))
            }
        }
    };
}

cached_repository_of!(Gates, i64, id: i32, find, "gate:{id}", "5m", { Ok(i64::from(id)) });
