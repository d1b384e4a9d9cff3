//! The runtime of dbopt, free of any database driver.
//!
//! Applications depend on `dbopt-diesel`, which puts PostgreSQL underneath and re-exports what they need from here. This
//! crate decides: which node serves a call, on which connection, how long it may take, what is counted. A [`backend`] does.
//!
//! | room | what is in it |
//! |---|---|
//! | [`runtime`] | the path of a call, settings, background work, HTTP |
//! | [`limit`] | who may call how often |
//! | [`cache`] | results kept in memory and in Redis |
//! | [`schema`] | migrations: what is to be run, what is dangerous, how it is taken back |
//! | [`query`] | what is known of every statement |
//! | [`route`] | which node serves a call |
//! | [`cluster`] | what every node is and how far behind it is |
//! | [`failover`] | who promotes when the primary is lost |
//! | [`pool`] | connections: opened ahead, shared fairly, bounded |
//! | [`alert`] | what is wrong, and who is told |
//! | [`breaker`] | when a node is left alone for a while, and when to try again |
//! | [`backend`], [`observe`] | what a driver must offer; what happened, counted |
//! | [`op`], [`key`], [`position`], [`context`], [`rate`], [`error`], [`background`] | the vocabulary |
//!
//! A room uses only rooms that stand below it in this table.
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `http` | yes | the admin router (axum) and the tower layer that gives each request a [`Context`] |
//! | `alerts` | no | mail, Slack, PagerDuty and webhooks for alerts (lettre, hyper) |
//! | `patroni` | no | asks Patroni's REST API who leads (hyper) |
//! | `schema` | no | migrations: scripts, plans, lint, rollback scripts (sqlparser) |
//! | `advise` | no | advice on indexes (sqlparser) |
//! | `spans` | no | spans of calls for `tracing`, under the names that OpenTelemetry gives them |
//! | `fake` | no | [`backend::fake`]: a cluster in memory, for tests of code that is generic over the backend |

pub mod alert;
pub mod backend;
pub mod background;
pub mod breaker;
pub mod cache;
mod canonical;
pub mod cluster;
pub mod context;
mod duration;
pub mod error;
pub mod failover;
pub mod key;
pub mod limit;
pub mod observe;
pub mod op;
mod owner;
pub mod pool;
pub mod position;
pub mod query;
mod random;
pub mod rate;
mod redis_link;
pub mod route;
pub mod runtime;
pub mod schema;
pub mod secret;
mod timer;

pub use context::{Context, Token, independent, spawn};
pub use error::Error;
pub use runtime::Config;
