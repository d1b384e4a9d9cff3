#![allow(unused)]

use dbopt_diesel::prelude::*;

/// A struct is not where the methods are.
#[repository]
pub struct Flights {
    db: Db,
}

#[repository]
pub async fn find(conn: &mut Conn) {}

fn main() {}
