#![allow(unused)]

use dbopt_diesel::prelude::*;

pub struct Flights {
    db: Db,
}

#[repository(database = self.db)]
impl Flights {}

#[repository(db = "self.db")]
impl Flights {}

#[repository(crate = "dbopt_diesel")]
impl Flights {}

#[repository(db)]
impl Flights {}

#[repository(db = self.db)]
mod flights {}

fn main() {}
