//! When to try again after a failure.
//!
//! Holds the backoff that every pool keeps between failed connection attempts (R4.4).

mod backoff;

pub use backoff::{Backoff, BackoffPolicy};
