//! The Redis layer on a real Redis, with what can go wrong with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, missing_docs)]

mod entries;
mod faults;
mod fences;
mod leases;
mod losses;
mod patterns;
mod server;
