//! What generated code names. Not for people: anything here may change.

pub use dbopt_core::op::{Intent, Op};

use diesel_async::AsyncPgConnection;

use crate::{Conn, Db, Error, Postgres};

pub type Lease = dbopt_core::pool::Lease<Postgres>;
pub type Call<'a> = dbopt_core::runtime::Call<'a, Postgres>;

pub fn call<'a>(db: &'a Db, op: &'static Op) -> Call<'a> {
    db.runtime().call(op)
}

/// What the `conn` parameter of a method may be.
#[diagnostic::on_unimplemented(
    message = "a repository method cannot take a `{T}` as its connection",
    note = "write `conn: &mut Conn`, `&Conn`, `&mut AsyncPgConnection` or `&AsyncPgConnection`"
)]
pub trait Lend<T: ?Sized> {
    fn lend(&mut self) -> &mut T;
}

impl Lend<Conn> for Conn {
    fn lend(&mut self) -> &mut Conn {
        self
    }
}

impl Lend<AsyncPgConnection> for Conn {
    fn lend(&mut self) -> &mut AsyncPgConnection {
        self.as_pg()
    }
}

pub fn lend<T: ?Sized>(lease: &mut Lease) -> &mut T
where
    Conn: Lend<T>,
{
    (**lease).lend()
}

#[diagnostic::on_unimplemented(
    message = "an argument of type `{Self}` cannot be used by a method that may run again on another node",
    note = "a read is run again when its node dies: derive Clone, or take the argument by reference"
)]
pub trait Again {
    fn again(&self) -> Self;
}

impl<T: Clone> Again for T {
    fn again(&self) -> T {
        self.clone()
    }
}

pub fn clone_arg<T: Again>(value: &T) -> T {
    value.again()
}

#[diagnostic::on_unimplemented(
    message = "a repository method must return `Result<T, E>` with `E: From<dbopt_diesel::Error>`, not `{Self}`",
    label = "not a result that dbopt can add its own errors to",
    note = "`diesel::QueryResult<T>` works as it is; for an error type of your own write `impl From<dbopt_diesel::Error> for ..`"
)]
pub trait Outcome {}

impl<T, E: From<Error>> Outcome for Result<T, E> {}

pub fn assert_outcome<T: Outcome>() {}
