//! What is in a database, how two states of it differ, and the statements from one to the other. Pure.
//!
//! A rollback script is found in rounds: [`renames`] and [`changes`] propose statements, each is tried on a scratch database that is in the
//! state after the migration, the catalog is read again, until nothing differs. What depends on what is therefore never guessed here: a
//! statement that comes too early fails there, and is proposed again in the next round.

mod attributes;
mod changes;
mod columns;
mod enums;
mod filler;
mod model;
mod renames;
mod render;
mod tables;
#[cfg(test)]
mod tests;

pub use changes::{Change, changes};
pub use model::{Catalog, Kind, Object};
pub use renames::renames;
pub use render::{Derived, Step};
