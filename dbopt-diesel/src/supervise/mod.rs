//! A coordinator that promotes a replica when the primary is lost, over plain SQL.
//!
//! ```no_run
//! use dbopt_diesel::Config;
//! use dbopt_diesel::supervise::Supervisor;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut supervisor = Supervisor::new(&Config::load()?)?;
//! for problem in supervisor.check().await.problems() {
//!     eprintln!("{problem}");
//! }
//! supervisor.run().await;                                    // until the future is dropped
//! # Ok(()) }
//! ```
//!
//! `dbopt supervise` is this as a program. Two of them guard each other: the one without the votes stands by. How it decides is in the
//! book, and in [`dbopt_core::failover`].

mod act;
mod agent;
mod by_patroni;
mod check;
mod closed;
mod drain;
mod link;
mod look;
#[cfg(feature = "agent")]
mod machine;
mod notices;
#[cfg(any(feature = "agent", feature = "dev"))]
mod rejoin;
#[cfg(feature = "agent")]
mod remote;
mod supervisor;
mod switchover;
mod tell;

use std::sync::Arc;

pub use agent::{AgentError, NodeAgent, Rejoin, Way};
pub use by_patroni::{HandedOver, PatroniSwitchover};
pub use check::{Finding, Readiness, grants};
pub use closed::switchover_grants;
#[cfg(feature = "agent")]
pub use machine::Machine;
#[cfg(feature = "dev")]
pub(crate) use rejoin::{Hands, bring_back};
#[cfg(feature = "agent")]
pub use remote::{AgentClient, agent_router};
pub use supervisor::{Failover, Supervisor};

/// Why something could not be done; the next look tells what is to be done instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings name no servers that can be used.
    #[error("{0}")]
    Settings(String),
    /// A server refused, or ended the session that holds its vote.
    #[error("{node}: {message}")]
    Refused {
        /// Its name.
        node: Arc<str>,
        /// Its words.
        message: String,
    },
    /// A server said nothing.
    #[error("{node}: no answer within {waited:?} ({doing})")]
    Silent {
        /// Its name.
        node: Arc<str>,
        /// For how long.
        waited: std::time::Duration,
        /// What it was asked.
        doing: &'static str,
    },
    /// Other coordinators have the votes, or too few servers answer.
    #[error("{votes} of the {quorum} votes that are needed: another coordinator has them, or servers do not answer")]
    NoMajority {
        /// How many there are.
        votes: usize,
        /// How many there should be.
        quorum: usize,
    },
    /// A planned switchover is not possible now.
    #[error("no switchover: {0}")]
    Switchover(String),
    /// Patroni did not do what it was told.
    #[error(transparent)]
    Patroni(#[from] dbopt_core::cluster::PatroniError),
}
