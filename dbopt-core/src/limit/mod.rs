//! Who may call how often (R7): sliding windows that hold exactly, in this process and over all instances.
//!
//! A check without Redis takes from the windows of this process ([`window`]). With Redis the windows are there, and one script takes
//! from those of a call together or not at all; an instance fetches permits ahead for callers who come often, and answers from
//! these. A permit counts from the moment at which it may be used at the latest, so that no window ever holds more than its
//! limit. [`Limiter`] is the way through all of this.

mod ask;
mod budget;
mod cell;
mod check;
mod clock;
mod config;
mod desk;
mod limiter;
mod lost;
mod method;
mod overrides;
mod questions;
mod remote;
mod status;
mod table;
mod tell;
mod verdict;
mod who;
pub mod window;

pub use ask::Asking;
pub use config::{Config, Precision, WhenLost};
pub use desk::Outcome;
pub use limiter::Limiter;
pub use method::Limited;
pub use status::{LimitStatus, MethodChecks, OneLimit};
pub use verdict::{Parts, Permits, Refused, Verdict};
pub use who::Who;
