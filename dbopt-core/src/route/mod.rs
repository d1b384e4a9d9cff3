//! Which node serves a call: decided from the snapshot, without I/O (R3).

pub mod balance;
mod config;
mod plan;

pub use config::Config;
pub use plan::{Freshness, Plan, Signs, Target, Wishes, plan};
