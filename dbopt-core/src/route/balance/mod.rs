//! Who serves the next read (R9): what is known of each replica becomes a weight, weights become a table of turns, and a read takes the next
//! turn, unless the replica of another turn has less to do for its weight.
//!
//! Everything but [`Balancer`] is pure.

mod balancer;
mod choice;
mod latency;
mod schedule;
mod standing;
mod weights;

#[cfg(test)]
mod herd;

pub use balancer::{Balancer, NodeBalance};
pub use choice::Turn;
pub use schedule::Schedule;
pub use weights::{Factors, Policy};
