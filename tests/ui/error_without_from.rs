#![allow(unused)]

use dbopt_diesel::prelude::*;

pub struct Flights {
    db: Db,
}

#[repository]
impl Flights {
    #[read]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> Result<i64, AppError> {
        Ok(id)
    }
}

pub struct AppError;

fn main() {}
