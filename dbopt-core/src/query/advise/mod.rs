//! Which indexes are missing, and which are not needed (1.3). All of it pure: plans and a catalog come in, proposals and judgements go out.
//!
//! Candidates come from the planner's own words: its plan says for each table what is compared, sorted and joined, with names resolved
//! through views and subqueries. Whether a candidate is worth anything is the planner's word, too: somebody with a connection has it explain the statements
//! once more as if the index were there, and `judge` compares. An [`Advisor`] is that somebody, for the runtime.

mod advisor;
#[cfg(feature = "advise")]
mod candidates;
#[cfg(feature = "advise")]
mod catalog;
#[cfg(feature = "advise")]
mod conditions;
#[cfg(feature = "advise")]
mod definition;
#[cfg(feature = "advise")]
pub mod judge;
mod report;
#[cfg(feature = "advise")]
mod scans;
#[cfg(feature = "advise")]
mod text;
#[cfg(feature = "advise")]
mod unneeded;
mod workload;

pub use advisor::{Advising, Advisor};
#[cfg(feature = "advise")]
pub use candidates::{Proposal, foreign_keys, propose};
#[cfg(feature = "advise")]
pub use catalog::{Catalog, Column, ForeignKey, Index, IndexKey, Table};
#[cfg(feature = "advise")]
pub use definition::{Definition, Key};
pub use report::{Advice, Place, Rejected, Report, Served, Skipped, Unneeded, Verified};
#[cfg(feature = "advise")]
pub use scans::{Reading, read};
#[cfg(feature = "advise")]
pub use text::{Unprepared, prepared, without_values};
#[cfg(feature = "advise")]
pub use unneeded::unneeded;
pub use workload::{Statement, Workload};
