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
pub mod core {}
pub mod std {}
pub mod call {}
pub mod dbopt_diesel_inner {}
pub fn call() {}
pub fn lend() {}
pub fn clone_arg() {}
pub fn assert_outcome() {}
pub const __DBOPT_OP: u8 = 0;

macro_rules! line {
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
