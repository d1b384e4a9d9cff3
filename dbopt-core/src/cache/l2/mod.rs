//! The second layer: encoded values in Redis, shared by all instances.
//!
//! An entry is served only if the namespace's epoch and the generation of each of its tags are those under which its fill
//! began, checked in the round trip that brings it. A fill is stored only if none of them moved meanwhile. A missing
//! generation is a miss, and a Redis that may have forgotten something (it restarted, was failed over, was flushed) gets a
//! fresh epoch before anything is served from it. So what is served was read after the last invalidation that Redis has
//! heard of; one that it has not heard of waits in a journal, and [`writers`] says what strong reads do until then.
//!
//! Nothing here fails a call: every operation has a time budget, and its [`Error`] means "go on without".

mod clock;
mod config;
mod counters;
mod envelope;
mod events;
mod fill;
mod gather;
mod invalidate;
mod journal;
mod judge;
mod layer;
mod link;
mod names;
mod scan;
mod scripts;
mod ticket;
pub mod writers;

pub use crate::redis_link::Error;
pub use config::Config;
pub use counters::Counts;
pub use events::Event;
pub use invalidate::Missed;
pub use layer::Layer;
pub use names::Key;
pub use scan::Usage;
pub use ticket::{Begun, Fill, Generations, Invalidated, Outcome, Proof, Stored, Ticket};
pub use writers::Standing;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Encodes a value for storing: MessagePack with the names of fields, so that it describes itself.
///
/// `None` when its `Serialize` refuses; such a value cannot be cached.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Option<Vec<u8>> {
    rmp_serde::to_vec_named(value).ok()
}

/// Decodes what [`encode`] made; `None`, that is a miss, when it does not fit.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    rmp_serde::from_slice(payload).ok()
}
