//! What generated code names. Not for people: anything here may change.

pub use dbopt_core::cache::{Cached, Codec, InMemory, Serde};
pub use dbopt_core::limit::Limited;
pub use dbopt_core::op::{Intent, Op};
pub use dbopt_core::runtime::{Attempt, Begun, CachedMethod, Look, Next};

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use dbopt_core::cache::flight::Shared;
use dbopt_core::runtime::{CallKey, Sharing, TextKey};
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

pub type Tag = String;

pub fn tag(text: fmt::Arguments<'_>) -> Tag {
    text.to_string()
}

pub fn text(text: fmt::Arguments<'_>) -> TextKey {
    TextKey(text.to_string())
}

#[inline]
pub fn look<'a, T, E, C, K>(
    db: &'a Db,
    method: CachedMethod<Result<T, E>, C>,
    sharing: Sharing<E>,
    absence: fn(&T) -> bool,
    key: &K,
    tags: impl FnOnce() -> Vec<Tag>,
) -> Look<'a, Postgres, T, E, C>
where
    T: Clone + Send + Sync + 'static,
    C: Codec<T>,
    K: CallKey + ?Sized,
{
    db.runtime().look(method, sharing, absence, key, tags)
}

/// The same for a method with limits; `who` is limited in place of the caller.
#[inline]
pub fn look_limited<'a, T, E, C, K>(
    db: &'a Db,
    who: Option<fmt::Arguments<'_>>,
    method: CachedMethod<Result<T, E>, C>,
    sharing: Sharing<E>,
    absence: fn(&T) -> bool,
    key: &K,
    tags: impl FnOnce() -> Vec<Tag>,
) -> Look<'a, Postgres, T, E, C>
where
    T: Clone + Send + Sync + 'static,
    E: From<Error>,
    C: Codec<T>,
    K: CallKey + ?Sized,
{
    db.runtime().look_limited(who, method, sharing, absence, key, tags)
}

/// `value` is what the write returned; it must be what the cached method returns.
pub fn write_through<T, E, C, K>(
    call: &mut Call<'_>,
    method: CachedMethod<Result<T, E>, C>,
    key: &K,
    tags: Vec<Tag>,
    absence: fn(&T) -> bool,
    value: &T,
) where
    T: Clone + Send + Sync + 'static,
    C: Codec<T>,
    K: CallKey + ?Sized,
{
    call.write_through(method, key, tags, absence, value);
}

#[diagnostic::on_unimplemented(
    message = "a write that invalidates cached results cannot take a `{Self}` as its connection",
    note = "dbopt must see its transaction end: write `conn: &mut Conn` or `&Conn`, and `conn.as_pg()` where an `AsyncPgConnection` is wanted"
)]
pub trait SeesCommit {
    fn on_commit(&self, tags: Vec<Tag>);
}

impl SeesCommit for Conn {
    fn on_commit(&self, tags: Vec<Tag>) {
        self.invalidate_on_commit(tags);
    }
}

pub fn invalidates_on_commit<C: SeesCommit + ?Sized>(conn: &C, tags: Vec<Tag>) {
    conn.on_commit(tags);
}

/// Asks of a method's return type what its generic code cannot: the most special of the traits below that fits answers.
pub struct Probe<R>(PhantomData<fn() -> R>);

impl<R> Probe<R> {
    pub const NEW: Probe<R> = Probe(PhantomData);
}

/// Errors that can be cloned reach all who waited for a load that failed.
pub trait ByClone<E> {
    fn sharing(&self) -> Sharing<E>;
}

impl<T, E: Clone + Send + Sync + 'static> ByClone<E> for &Probe<Result<T, E>> {
    fn sharing(&self) -> Sharing<E> {
        Sharing {
            pack: |error| Some(Arc::new(error.clone())),
            unpack: |shared| (**shared).downcast_ref::<E>().cloned(),
        }
    }
}

/// Of others only diesel's own can be told again.
pub trait ByMessage<E> {
    fn sharing(&self) -> Sharing<E>;
}

impl<T, E: 'static> ByMessage<E> for Probe<Result<T, E>> {
    fn sharing(&self) -> Sharing<E> {
        Sharing { pack: pack_diesel::<E>, unpack: unpack_diesel::<E> }
    }
}

fn pack_diesel<E: 'static>(error: &E) -> Option<Shared> {
    let error = (error as &dyn Any).downcast_ref::<diesel::result::Error>()?;
    Some(Arc::new(retold::Retold::of(error)?))
}

fn unpack_diesel<E: 'static>(shared: &Shared) -> Option<E> {
    let error: Box<dyn Any> = Box::new((**shared).downcast_ref::<retold::Retold>()?.tell());
    error.downcast().ok().map(|error| *error)
}

mod retold;

/// Whether a result says that there is nothing.
pub trait MayBeNone<T> {
    fn absence(&self) -> fn(&T) -> bool;
}

impl<T, E> MayBeNone<Option<T>> for &Probe<Result<Option<T>, E>> {
    fn absence(&self) -> fn(&Option<T>) -> bool {
        Option::is_none
    }
}

/// Others never do.
pub trait NeverNone<T> {
    fn absence(&self) -> fn(&T) -> bool;
}

impl<T, E> NeverNone<T> for Probe<Result<T, E>> {
    fn absence(&self) -> fn(&T) -> bool {
        |_| false
    }
}
