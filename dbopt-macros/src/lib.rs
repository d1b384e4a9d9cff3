//! The attribute macros of dbopt. Use them through `dbopt-diesel`, which re-exports them and has the runtime they call.
//!
//! # A tour
//!
//! [`macro@repository`] goes on an `impl` block. Inside it, small helper attributes say what each method means to the
//! database, never how it is done:
//!
//! ```ignore
//! use dbopt_diesel::prelude::*;
//!
//! pub struct Flights { db: Db }
//!
//! #[repository]
//! impl Flights {
//!     #[read(max_staleness = "2s")]
//!     pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<Flight> {
//!         flights::table.find(id).select(Flight::as_select()).first(conn).await
//!     }
//!
//!     #[write]
//!     pub async fn delay(&self, conn: &mut Conn, id: i64, minutes: i32) -> QueryResult<Flight> { .. }
//! }
//!
//! flights.find(7).await?;                       // `conn` is not in the public signature
//! db.transaction(async |tx| {
//!     flights.delay_in(tx, 7, 30).await         // `<name>_in`: the same statements on a connection you hold
//! }).await?;
//! ```
//!
//! | helper | says | in this version |
//! |---|---|---|
//! | [`macro@read`] | may run on a replica, and again on another node | yes |
//! | [`macro@write`] | runs on the primary, once | yes |
//! | [`macro@critical`] | uses the dedicated high-priority connections | yes |
//! | [`macro@cached`] | a read whose result is kept | yes |
//! | [`macro@batched`] | concurrent calls become one statement | checked, not available yet |
//! | [`macro@rate_limited`] | limited per user and over all | yes |
//!
//! What is not available yet is a compile error that says what to write meanwhile. Helpers may stand in any order: the order
//! of the guards is fixed in the runtime. Methods without a helper stay as they are.
//!
//! # The code, for those who change it
//!
//! `parse` -> `model` -> `check` -> `expand`, and `fallback` for what is left when something is wrong; `repository.rs` is the
//! way through. `vocabulary.rs` is the table of options, `available.rs` what has no runtime yet. Method bodies are never
//! parsed. All mistakes are gathered before the first is shown, and the user's code is always part of the output.

mod attrs;
mod available;
mod check;
mod crate_path;
mod duration;
mod errors;
mod expand;
mod fallback;
mod generics;
mod helpers;
mod model;
mod options;
mod parse;
mod problem;
mod rate;
mod repository;
mod suggest;
mod template;
#[cfg(test)]
mod tests;
mod values;
mod vocabulary;

use proc_macro::TokenStream;

/// Turns the methods of an `impl` block, or the functions of a module, into calls that dbopt routes, retries and watches.
///
/// | option | default | meaning |
/// |---|---|---|
/// | `db = self.inner.db` | `self.db` | where the `Db` is; any expression on `self` |
/// | `crate = facade::dbopt_diesel` | found in Cargo.toml, also when renamed | path of the runtime crate |
///
/// # What a method looks like
///
/// `async fn name(&self, conn: &mut Conn, ..) -> Result<T, E>` with one of the helpers, where
/// - the connection comes right after `&self`, and is `&mut Conn`, `&Conn`, `&mut AsyncPgConnection` or
///   `&AsyncPgConnection`, under any name;
/// - the return type is any `Result` with `E: From<dbopt_diesel::Error>`; `diesel::QueryResult` is one;
/// - owned arguments of a method that may run again (reads, idempotent writes) are `Clone`: each attempt gets its own.
///
/// Names that begin with `__dbopt_` are reserved.
///
/// # What it becomes
///
/// ```ignore
/// #[read]
/// pub async fn find(&self, conn: &mut Conn, id: i64, names: Vec<String>) -> QueryResult<Flight> { body }
///
/// // becomes
/// pub async fn find(&self, id: i64, names: Vec<String>) -> QueryResult<Flight> {
///     static __DBOPT_OP: Op = Op::new("Flights::find", Intent::Read).at(module_path!(), file!(), line!());
///     assert_outcome::<QueryResult<Flight>>();
///     let mut call = call(&self.db, &__DBOPT_OP);
///     loop {                                              // a write has no loop, and its arguments are moved
///         let mut lease = call.acquire().await?;
///         let body = Self::find_in(self, lend(&mut lease), id, clone_arg(&names));
///         let attempt = call.run(body).await;
///         if let Some(result) = call.finish(lease, attempt).await { break result; }
///     }
/// }
///
/// /// The same statements on a connection you already hold, for example inside a transaction.
/// pub async fn find_in(&self, conn: &mut Conn, id: i64, names: Vec<String>) -> QueryResult<Flight> { body }
/// ```
///
/// `<name>_in` joins the transaction of the connection it is given: it is neither routed nor retried.
///
/// Documentation, `#[cfg]`, lint attributes, `#[must_use]` and `#[deprecated]` go on both functions (`#[expect]` as
/// `#[allow]` on the public one). All others, such as `#[tracing::instrument(skip(conn))]`, go on `<name>_in`, where the body
/// and the connection are. Patterns such as `(a, b): (i32, i32)` become plain arguments of the public function.
///
/// # Free functions
///
/// ```ignore
/// #[repository]
/// pub mod flights {
///     #[read]
///     pub async fn find(conn: &mut Conn, id: i64) -> QueryResult<Flight> { .. }
/// }
/// flights::find(&db, 7).await?;
/// flights::find_in(conn, 7).await?;
/// ```
///
/// The first parameter of the public function is `db: &Db`, called `dbopt_db` where an argument is already called `db`.
///
/// # Errors
///
/// All mistakes of a block are reported at once, each where it stands and with what to write instead. When only options are wrong, both functions are still written, so that
/// their callers bring no errors of their own.
#[proc_macro_attribute]
pub fn repository(arguments: TokenStream, item: TokenStream) -> TokenStream {
    repository::repository(arguments.into(), item.into()).into()
}

/// A method that only reads: it may run on any replica that is fresh enough, and again on another node when a connection is
/// lost, so its owned arguments are cloned for each attempt.
///
/// | option | default | meaning |
/// |---|---|---|
/// | `max_staleness = "2s"` | what the configuration says | replicas further behind are skipped |
/// | `from = "primary"` | replicas first | the primary only: for reads that must see every committed write |
/// | `max_concurrent = 20` | as many as there are connections | so many calls run at once in a process; others wait for their turn as long as for a connection |
/// | `hedge = "50ms"` | one replica | a second replica is asked too when the first has not answered for so long; the first answer counts |
///
/// Durations are whole numbers with `ms`, `s`, `m`, `h` or `d`, also summed: `"1m30s"`. `max_staleness` and `from` exclude each other,
/// as the primary is never behind; so do `hedge` and `from`.
///
/// ```ignore
/// #[read(max_staleness = "2s")]
/// pub async fn board(&self, conn: &mut Conn, airport: &str) -> Result<Vec<Flight>, AppError> { .. }
/// ```
#[proc_macro_attribute]
pub fn read(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    fallback::outside("read", item.into()).into()
}

/// A method that changes something: it runs on the primary, and its body exactly once.
///
/// | option | default | meaning |
/// |---|---|---|
/// | `idempotent` | runs once | the body may run again after a lost connection, as running it twice does no harm |
/// | `transaction = false` | `true` | no transaction around the body, for statements that refuse one (`VACUUM`, `CREATE INDEX CONCURRENTLY`) |
/// | `invalidates = ["flight:{id}", "airline:{ret.airline}"]` | nothing | the tags of cached values that are stale once this is committed |
/// | `max_concurrent = 20` | as many as there are connections | so many calls run at once in a process; others wait for their turn as long as for a connection |
/// | `write_through = find(id)` | nothing | a [`macro@cached`] method of the same block that returns what this one returns: its value is kept at once |
///
/// `idempotent` and `transaction = false` go together: each attempt then starts again from what the last one left.
///
/// # What is cached
///
/// In the tags stand arguments of the method and their fields, as they are before the body runs, and `ret`, what the method
/// returns when it succeeds: `{id}`, `{change.airline}`, `{ret.id}`. They are written with `Display`.
///
/// `write_through` names a cached method without type parameters, and gives it all its arguments: arguments of this method,
/// which are cloned, `ret`, fields of them, and literals. A `&` in front lends: `find(&ret.code)` where `find` takes a `&str`.
/// Both methods return the same type, and the cached one has tags: inside a transaction, which may still be rolled back,
/// nothing is written through, and these tags are invalidated instead.
///
/// ```ignore
/// #[write(invalidates = ["flights"], write_through = find(id))]
/// pub async fn cancel(&self, conn: &mut Conn, id: i64) -> QueryResult<Flight> { .. }
/// ```
///
/// A write that says something about cached values is expanded a little differently: the body becomes a hidden function that
/// the public one runs, with the attributes that belong to it, and `<name>_in` runs it too and passes the tags on to the
/// connection, to be invalidated when its transaction commits. That holds also when the body fails after it has changed
/// something, for the tags that need no `ret`: the transaction is the caller's to commit.
///
/// ```ignore
/// #[write(idempotent)]
/// pub async fn set_gate(&self, conn: &mut Conn, id: i64, gate: &str) -> QueryResult<usize> { .. }
/// ```
#[proc_macro_attribute]
pub fn write(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    fallback::outside("write", item.into()).into()
}

/// A method that must get through when the pools are busy: it uses the dedicated high-priority connections of the primary.
///
/// It has no options. Alone it is a critical write; with [`macro@read`] a critical read.
///
/// ```ignore
/// #[critical]
/// pub async fn cancel(&self, conn: &mut Conn, id: i64) -> Result<Flight, AppError> { .. }
/// ```
#[proc_macro_attribute]
pub fn critical(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    fallback::outside("critical", item.into()).into()
}

/// A read whose result is kept in memory and in Redis.
///
/// | option | default | meaning |
/// |---|---|---|
/// | `tags = ["flight:{id}", "flights"]`, or bare: `#[cached("flight:{id}")]` | none | what a write invalidates it by |
/// | `ttl = "5m"`, `l1_ttl = "10s"` | what the configuration says | how long it is kept, and how long in memory (not longer) |
/// | `key = "flight:{id}"` | the method and all its arguments | a key of your own |
/// | `vary = [user]` | one value for all | one value per user of the `Context` |
/// | `cache_none = false` | `true` | do not keep an absent value |
/// | `consistency = "strong"` | | every reader on every instance sees a write that was acknowledged |
/// | `stale_if_error = "1m"` | never | serve an expired value while the database fails; not with `"strong"` |
/// | `refresh_ahead = 0.8` | never | refresh on a hit after this part of the ttl, from 0.1 to below 1 |
/// | `layers = "l1"` or `"l2"` | both | memory only, or Redis only |
///
/// In `{..}` stand arguments of the method and their fields, written with `Display`: `{id}`, `{filter.airport}`; a brace
/// itself is written twice.
///
/// ```ignore
/// #[cached(tags = ["flight:{id}", "flights"], ttl = "5m")]
/// pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<Flight> { .. }
/// ```
///
/// `<name>_in` neither looks into the cache nor fills it.
///
/// # What makes a value another one
///
/// Without a `key`, two calls share a value when the method, its type parameters (also those of its `impl` block) and all
/// arguments are the same. What the body takes from elsewhere is not in the key: fields of `self`, a task-local, the time. A
/// body that asks the `Context` who is calling brings a warning, unless there is a `key` or `vary = [user]`.
///
/// # What can be kept
///
/// Owned values: the return type holds no reference, and no `impl Trait`. Values that go to Redis are `Serialize` and
/// `DeserializeOwned`; with `layers = "l1"` they are `Clone` only. Arguments are `Serialize` where they are in the key.
///
/// # What it becomes
///
/// ```ignore
/// fn __dbopt_cached_find() -> CachedMethod<QueryResult<Flight>, Serde> {
///     static __DBOPT_OP: Op = Op::new("Flights::find", Intent::Read).at(module_path!(), file!(), line!());
///     static __DBOPT_CACHED: Cached = Cached::new(&__DBOPT_OP).ttl(Duration::from_millis(300_000));
///     CachedMethod::new(&__DBOPT_CACHED)
/// }
///
/// pub async fn find(&self, id: i64) -> QueryResult<Flight> {
///     let mut cached = match look(&self.db, Self::__dbopt_cached_find(), .., &(&id,), || vec![tag(..), tag(..)]) {
///         Look::Hit(result) => return result,
///         Look::Miss(miss) => miss,
///     };
///     let mut call = match cached.next().await {          // of concurrent calls, one goes on
///         Next::Return(result) => return result,
///         Next::Load(call) => call,
///     };
///     let result = loop { .. };                           // as in every read
///     cached.end(call, result).await
/// }
/// ```
#[proc_macro_attribute]
pub fn cached(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    fallback::outside("cached", item.into()).into()
}

/// On a method that reads many rows by their keys: generates the method for one key, whose concurrent calls become one
/// statement. **Not available yet**: it is checked, and then refused.
///
/// | option | meaning |
/// |---|---|
/// | `one = find` | the name of the generated method; required |
#[proc_macro_attribute]
pub fn batched(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    fallback::outside("batched", item.into()).into()
}

/// A read or write that is limited per user and over all instances.
///
/// | option | default | meaning |
/// |---|---|---|
/// | `per_user = "100/min"` | the configured limit, which all methods without this share | calls of one user in a window of `s`, `min`, `h` or `d`; several with commas hold together |
/// | `global = "10000/min"` | the configured limit, which all methods without this share | calls of all users that reach the database |
/// | `key = "{customer}"` | the user of the `Context` | who is limited |
/// | `cost = 5` | 1 | how many calls this one counts as; `"db_ms"`: the milliseconds on its connection |
///
/// On a `#[cached]` method a call answered from the cache counts for its user, and not for all. `<name>_in` is not limited: it
/// runs inside a call that was.
#[proc_macro_attribute]
pub fn rate_limited(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    fallback::outside("rate_limited", item.into()).into()
}
