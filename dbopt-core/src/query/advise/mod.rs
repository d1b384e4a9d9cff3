//! Which indexes are missing, and which are not needed (1.3). All of it pure: plans and a catalog come in, proposals and judgements go out.
//!
//! Candidates come from the planner's own words: its plan says for each table what is compared, sorted and joined, with names resolved
//! through views and subqueries. Whether a candidate is worth anything is the planner's word, too: somebody with a connection has it explain the statements
//! once more as if the index were there, and [`judge`] compares.

mod candidates;
mod catalog;
mod conditions;
mod definition;
pub mod judge;
mod report;
mod scans;
mod text;
mod unneeded;
mod workload;

pub use candidates::{Proposal, foreign_keys, propose};
pub use catalog::{Catalog, Column, ForeignKey, Index, IndexKey, Table};
pub use definition::{Definition, Key};
pub use report::{Advice, Place, Rejected, Report, Served, Skipped, Unneeded, Verified};
pub use scans::{Reading, read};
pub use text::{Unprepared, prepared, without_values};
pub use unneeded::unneeded;
pub use workload::{Statement, Workload};
