//! Results kept near: in memory, in Redis, and never served once they are known to be stale (R5, R12).
//!
//! | part | what is in it |
//! |---|---|
//! | [`l1`] | typed values in this process |
//! | [`l2`] | encoded values in Redis, shared by all instances |
//! | [`fence`] | generations of tags: what was read before an invalidation is not served after it |
//! | [`flight`] | of all who miss the same key at once, one loads |
//! | [`lookup`] | the way from a question to an answer through all of these |
//! | [`store`] | both layers together, and what invalidates them |
//! | [`written`] | values that a write leaves behind |

pub mod config;
pub mod fence;
pub mod flight;
pub mod l1;
pub mod l2;
pub mod lookup;
mod method;
pub mod pattern;
pub mod shape;
pub mod store;
mod tally;
pub mod written;

pub use config::Config;
pub use method::{Cached, Codec, InMemory, Layers, Serde};
pub use pattern::Pattern;
pub use store::{Acknowledged, Cache};
