//! Results kept near: in memory, in Redis, and never served once they are known to be stale (R5, R12).

pub mod l1;
pub mod l2;
pub mod pattern;
pub mod shape;
