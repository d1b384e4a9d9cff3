//! The state over HTTP, and the layer that gives each request a [`Context`](crate::context::Context).

mod accept;
mod admin;
mod dashboard;
mod layer;
mod rate_limit;

pub use admin::router;
pub use layer::{ContextLayer, ContextService};
