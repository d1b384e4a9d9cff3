//! Which indexes are missing, and which are not needed (1.3): for an application's own statements, or for those that a server has counted.
//!
//! ```no_run
//! use dbopt_diesel::prelude::*;
//! use dbopt_diesel::advise::Options;
//!
//! # async fn example(db: Db) -> Result<(), Box<dyn std::error::Error>> {
//! for missing in db.advise(&Options::default()).await?.missing {
//!     println!("{};  -- {}", missing.create, missing.why);
//! }
//! # Ok(()) }
//! ```
//!
//! Nothing is advised because it looks right: the planner explains each statement once more as if the index were there, which takes HypoPG on the
//! server or a scratch copy of the database. Without either the advice says that it is unverified. `dbopt advise` does the same from a shell.

mod catalog;
mod counted;
mod db;
mod error;
mod explain;
mod final_word;
mod hypopg;
mod laboratory;
mod options;
mod scratch;
mod search;
mod unverified;

pub(crate) use db::Background;

pub use counted::{counted_by_server, primary_of};
pub use dbopt_core::query::advise::{
    Advice, Place, Rejected, Report, Served, Skipped, Statement, Unneeded, Verified, Workload,
};
pub use error::Error;
pub use options::{Options, advise};
