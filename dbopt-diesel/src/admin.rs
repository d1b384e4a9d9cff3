//! The state of an application over HTTP.

use axum::Router;

use crate::Db;

/// The dashboard (`/`), `/metrics`, `/metrics/json` and `/health` of `db`, to be served on a port of its own or nested into the application's router.
///
/// They only read what is in memory, so they answer also when every server is dead. See
/// [`dbopt_core::runtime::http::router`] for the routes.
pub fn router(db: &Db) -> Router {
    dbopt_core::runtime::http::router(db.runtime().clone())
}
