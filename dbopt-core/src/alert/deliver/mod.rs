//! Brings news to receivers: a queue and a task per channel, so that none waits for another.

mod post;
mod queue;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use post::Post;
pub use queue::{Delivered, Limits, Next, Queue};

use super::notification::Message;

/// A way to a receiver.
pub trait Notifier: Send + Sync + fmt::Debug {
    /// The name in settings, metrics and logs.
    fn name(&self) -> &'static str;

    /// Whether the receiver itself joins what belongs together by its key, so that nothing may be summed up for it.
    fn joins(&self) -> bool {
        false
    }

    /// Sends it; what the receiver answered.
    ///
    /// # Errors
    /// Why it was not taken, and whether it makes sense to try again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves unknown whether the receiver has got the message.
    fn deliver<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<String, Failure>>;
}

/// Why a receiver did not take a message. Holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub why: String,
    /// Whether it makes sense to try again.
    pub again: Again,
}

/// Whether it makes sense to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Yes, after this time if the receiver named one.
    After(Option<Duration>),
    /// No: it would be refused again.
    Never,
}

impl Failure {
    /// A failure that may pass.
    pub fn passing(why: impl Into<String>) -> Self {
        Failure { why: why.into(), again: Again::After(None) }
    }

    /// A failure that stays.
    pub fn lasting(why: impl Into<String>) -> Self {
        Failure { why: why.into(), again: Again::Never }
    }
}
