//! Names of the user's that look like those of generated code.
#![deny(warnings)]
#![allow(dead_code, unused_macros)]

use dbopt_diesel::{Conn, Db, repository};

pub struct Option;
pub struct Some;
pub struct Result;
pub struct Ok;
pub struct None;
pub struct Duration;
pub struct Op;
pub struct Intent;
pub struct Err;
pub struct From;
pub struct Vec;
pub struct Cached;
pub struct Look;
pub struct Next;
pub struct Probe;
pub mod core {}
pub mod std {}
pub mod call {}
pub mod dbopt_diesel_inner {}
pub fn call() {}
pub fn lend() {}
pub fn clone_arg() {}
pub fn assert_outcome() {}
pub fn look() {}
pub fn tag() {}
pub fn text() {}
pub fn write_through() {}
pub const __DBOPT_OP: u8 = 0;
pub const __DBOPT_CACHED: u8 = 0;

/// Methods with the names that generated code calls, on everything.
pub trait Everywhere {
    fn sharing(&self) {}
    fn absence(&self) {}
    fn to_string(&self) {}
}
impl Everywhere for i64 {}
impl Everywhere for Db {}

macro_rules! line {
    () => {
        compile_error!("not this one")
    };
}
macro_rules! vec {
    () => {
        compile_error!("not this one")
    };
}
macro_rules! format_args {
    () => {
        compile_error!("not this one")
    };
}
macro_rules! module_path {
    () => {
        compile_error!("not this one")
    };
}

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    /// Arguments with the names of generated items.
    #[read(max_staleness = "2s")]
    pub async fn find(
        &self,
        conn: &mut Conn,
        call: i64,
        lease: String,
        body: &str,
        find_in: i64,
        db: i64,
    ) -> diesel::QueryResult<i64> {
        let _ = (conn, lease, body, find_in, db);
        diesel::QueryResult::Ok(call)
    }

    #[cached(tags = ["a:{call}:{tag}"], ttl = "2s")]
    pub async fn look(&self, conn: &mut Conn, call: i64, tag: &str, key: i64, cached: i64) -> diesel::QueryResult<i64> {
        let _ = (conn, tag, key, cached);
        diesel::QueryResult::Ok(call)
    }

    #[write(invalidates = ["a:{call}", "b:{ret}:{call}"], write_through = look(call, tag, ret, 3))]
    pub async fn store(&self, _: &mut Conn, call: i64, tag: &str, conn: i64, kept: i64) -> diesel::QueryResult<i64> {
        let _ = (conn, tag, kept);
        diesel::QueryResult::Ok(call)
    }
}

#[repository]
mod flights {
    use super::*;

    #[read]
    pub async fn find(conn: &mut Conn, db: i64, find_in: String, dbopt: i64) -> diesel::QueryResult<i64> {
        let _ = (conn, find_in, dbopt);
        diesel::QueryResult::Ok(db)
    }
}
