//! What a check takes, and what comes of it.

use std::time::Duration;

use super::ask::Asking;
use crate::error::{Error, LimitCause};
use crate::rate::{Rate, Scope};

/// Which limits to take from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// The caller's: what stands before the cache.
    User,
    /// What all share: for calls that reach the database.
    Shared,
    /// Both.
    All,
}

impl Parts {
    pub(super) fn user(self) -> bool {
        self != Parts::Shared
    }

    pub(super) fn shared(self) -> bool {
        self != Parts::User
    }
}

/// What was taken, so that it can be given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permits {
    /// Whose, and when it was charged.
    pub(super) user: Option<(u64, u64)>,
    pub(super) cost: u32,
}

/// Why a call must not run.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The method.
    pub method: &'static str,
    /// Who is limited together.
    pub scope: Scope,
    /// The window that is full.
    pub limit: Rate,
    /// What the call would have counted as.
    pub cost: u32,
    /// When there will be room.
    pub retry_after: Duration,
    /// Why.
    pub cause: LimitCause,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        let Refused { method, scope, limit, cost, retry_after, cause } = refused;
        Error::RateLimited { method, scope, limit, cost, retry_after, cause }
    }
}

/// What was decided at once.
#[derive(Debug)]
#[must_use]
pub enum Verdict {
    /// The call may run.
    Admitted(Permits),
    /// It must not.
    Refused(Box<Refused>),
    /// Redis, or the application, has to be asked.
    Ask(Box<Asking>),
}
