//! When a node is left alone for a while, and when to try again (R11).
//!
//! Every node has a [`Circuit`] per lane. It opens when connecting fails, or calls meet faults of the node, in more than half of the
//! cases; it then refuses at once, until one test connection succeeds. What an application does wrong never counts.
//!
//! | file | decides |
//! |---|---|
//! | `state` | when a circuit opens, who tests it, when it closes. Pure |
//! | `window` | what happened lately. Pure |
//! | `rules` | what counts, by SQLSTATE. Pure |
//! | `backoff`, `retry` | how long to wait between attempts. Pure |
//! | `budget` | how many attempts may be repeated. Pure |
//! | `circuit` | the same for many threads at once |

mod backoff;
mod budget;
mod circuit;
mod config;
mod retry;
mod rules;
mod state;
mod stripes;
mod window;

pub use backoff::{Backoff, BackoffPolicy};
pub use budget::{Budget, BudgetPolicy};
pub use circuit::{Admission, Changes, Circuit, CircuitStatus, Probe, Refused};
pub use config::{Config, RetryConfig};
pub use retry::waits;
pub use rules::Rules;
pub use state::{Failure, Life, Policy, State, Transition};
