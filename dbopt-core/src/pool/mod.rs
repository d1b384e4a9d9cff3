//! Connections: opened ahead, shared fairly, bounded for the whole application instance (R4).
//!
//! Every node has a pool per lane ([`Lane`](crate::op::Lane)); one budget bounds them all ([`Budget`]).
//! Callers queue first come, first served; a refusal names the true cause at once.
//! Connections are opened independently of whoever asked; bb8 keeps the ones that idle, and closes them in the end.

mod budget;
mod config;
mod lease;
mod lending;
mod lobby;
mod opening;
mod refusal;
mod share;
mod store;
mod testing;
#[cfg(test)]
mod tests;
mod upkeep;

pub use budget::Budget;
pub use config::Config;
pub use lease::Lease;
pub use lending::{Pool, PoolStatus};
pub use share::{Demand, Share, share_out};
