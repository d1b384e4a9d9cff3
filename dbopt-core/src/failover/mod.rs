//! Who promotes: what a coordinator does next, given what it sees of all nodes (R2). Pure; the driver's crate does it.
//!
//! The coordinator keeps nothing that matters in its head. What was begun is written on the nodes ([`Conninfo`]), votes are locks that
//! the nodes hold for it, and each step follows from a fresh look: so another coordinator finishes what one left half done, or takes it
//! back, by the same rules. A step is made only with the votes of a majority of all nodes, on the sessions that hold them.

mod config;
mod conninfo;
mod decide;
mod elect;
mod sight;
mod tend;
#[cfg(test)]
mod world;

pub use config::Config;
pub use conninfo::{Conninfo, Mark, Place};
pub use decide::{Memory, Order, Reason, Rules, Step, decide};
pub use sight::{Receiver, Seen, Sight, View};
