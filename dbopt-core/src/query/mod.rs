//! What is known of every statement (R1): its fingerprint, its times, whether it is slow, and whether it is repeated where one would do.
//!
//! A driver tells [`Insight`] of each statement as it was seen on the wire. Nothing of its values is kept: texts lose them before they
//! are stored, and bound values are hashed with a seed of this process, to tell repetition from a retry.

mod advice;
pub mod advise;
mod advised;
mod binds;
mod config;
mod findings;
mod fingerprint;
mod insight;
mod lexer;
mod marks;
mod plan;
mod plans;
mod scope;
mod shape;
mod slow;
mod slow_file;
mod statistics;
mod status;
mod streaks;
mod types;
mod values;

pub use advised::IndexAdvice;
pub use config::Config;
pub use findings::{Finding, Repeated};
pub use fingerprint::{Fingerprint, Known, Outcome, Place, Times};
pub use insight::{Ended, Insight, Sent};
pub use plan::{Plan, PlanNode};
pub use plans::{PlanStatus, Question};
pub use scope::{Logged, Scope};
pub use shape::Kind;
pub use slow::SlowStatement;
pub use slow_file::SlowFileStatus;
pub use status::{InsightStatus, StatementRuns, StatementStatus};
