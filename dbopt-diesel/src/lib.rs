//! dbopt for diesel-async: annotate data-access methods, and each call runs where it is served best.
//!
//! ```no_run
//! use dbopt_diesel::prelude::*;
//! use diesel::prelude::*;
//! use diesel_async::RunQueryDsl;
//!
//! diesel::table! { users (id) { id -> BigInt, name -> Text, } }
//!
//! #[derive(Clone)]
//! pub struct Users { db: Db }
//!
//! #[repository]
//! impl Users {
//!     /// Runs on a replica, and again on another one should that replica die.
//!     #[read]
//!     pub async fn name(&self, conn: &mut Conn, id: i64) -> QueryResult<Option<String>> {
//!         users::table.find(id).select(users::name).first(conn).await.optional()
//!     }
//!
//!     /// Runs once, on the primary, in a transaction.
//!     #[write]
//!     pub async fn rename(&self, conn: &mut Conn, id: i64, name: &str) -> QueryResult<usize> {
//!         diesel::update(users::table.find(id)).set(users::name.eq(name)).execute(conn).await
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let db = Db::connect(Config::load()?).await?;              // dbopt.toml, then DBOPT_* variables
//! let users = Users { db };
//! Context::user("alice").scope(async {
//!     users.rename(7, "Ann").await?;
//!     users.name(7).await                                    // sees "Ann", on whichever node it runs
//! }).await?;
//! # Ok(()) }
//! ```
//!
//! The book (`book/` in the repository) explains the rest: [`Db`] and [`Conn`] are the types to know, [`macro@repository`] lists the
//! attributes, [`Error`] the refusals, [`Config`] the settings.
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `http` | yes | [`admin::router`] and [`ContextLayer`] |
//! | `alerts` | no | mail, Slack, PagerDuty and webhooks for alerts; without it they are logged, counted and in the status |
//! | `exporter` | no | asks node exporters how busy the nodes' machines are |
//! | `patroni` | no | follows Patroni's leader: `cluster.mode = "patroni"` |
//! | `dev` | no | `dev`: a local cluster of real servers for development and tests |
//! | `migrations` | no | [`migrate`]: migrations that are proved before they run |
//! | `advise` | no | [`advise`]: which indexes are missing, and which are not needed |
//! | `agent` | no | `supervise::Machine` and `AgentClient`: what reaches a server's files for a coordinator (axum, reqwest) |
//! | `spans` | no | spans of calls, waits and statements for `tracing`, under the names that OpenTelemetry gives them |
//! | `supervise` | no | `supervise`: a coordinator that promotes a replica when the primary is lost |
//! | `cli` | no | the `dbopt` binary |

// Generated code names this crate as its users do, here too.
#[allow(unused_extern_crates)] // the expansions use it
extern crate self as dbopt_diesel;

#[doc(hidden)]
pub mod __private;
#[cfg(feature = "http")]
pub mod admin;
#[cfg(feature = "advise")]
pub mod advise;
mod backend;
mod conn;
mod connect;
mod db;
#[cfg(feature = "dev")]
pub mod dev;
mod error;
mod explain;
#[cfg(feature = "migrations")]
pub mod migrate;
mod probe;
pub mod statement;
#[cfg(feature = "supervise")]
pub mod supervise;
pub mod testing;

pub use backend::Postgres;
pub use conn::Conn;
pub use db::{Db, DbBuilder};
#[cfg(feature = "http")]
#[doc(inline)]
pub use dbopt_core::runtime::http::{ContextLayer, ContextService};
#[doc(inline)]
pub use dbopt_core::{
    context::{Context, Token, independent, spawn},
    op::{Intent, Op},
    runtime::{Caching, Config, History, Secret, Status, Warmed},
};
pub use dbopt_macros::{batched, cached, critical, rate_limited, read, repository, write};
pub use error::{Error, ErrorKind};

/// The runtime underneath: pools, routing, topology, metrics.
pub use dbopt_core as core;

/// What a module with repositories needs: `use dbopt_diesel::prelude::*;`.
pub mod prelude {
    pub use crate::{Config, Conn, Context, Db, repository};
}
