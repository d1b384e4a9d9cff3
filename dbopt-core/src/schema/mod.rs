//! Migrations: what is to be run, what was run, what is dangerous about it, and how it is taken back. All of it decides;
//! nothing here talks to a server.

#[cfg(feature = "schema")]
pub mod catalog;
mod config;
#[cfg(feature = "schema")]
pub mod history;
#[cfg(feature = "schema")]
pub mod lint;
#[cfg(feature = "schema")]
pub mod loss;
#[cfg(feature = "schema")]
pub mod migration;
#[cfg(feature = "schema")]
pub mod plan;
#[cfg(feature = "schema")]
pub mod receipt;
#[cfg(feature = "schema")]
pub mod script;

pub use config::{Config, Environment};
