//! The error that repository methods add to their own.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

/// Why a call could not be carried out, to be matched on; see [`Error::kind`].
pub use dbopt_core::Error as ErrorKind;

/// Why dbopt could not carry a call out.
///
/// A method's own error type takes it in by `impl From<dbopt_diesel::Error>`; [`diesel::result::Error`] does already, so
/// methods that return `QueryResult<T>` need nothing, and [`Error::of`] finds it in there again.
#[derive(Clone)]
pub struct Error(ErrorKind);

impl Error {
    /// What happened.
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    /// When it makes sense to try again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after()
    }

    /// Whether the same call may succeed later without any change, and repeating it cannot do harm.
    pub fn is_retryable(&self) -> bool {
        self.0.is_retryable()
    }

    /// The refusal inside a diesel error, if it is one.
    ///
    /// ```
    /// # use dbopt_diesel::{Error, ErrorKind};
    /// let refusal = Error::from(ErrorKind::ShuttingDown { method: "Users::find" });
    /// let through_diesel = diesel::result::Error::from(refusal);
    /// assert!(Error::of(&through_diesel).is_some());
    /// assert!(Error::of(&diesel::result::Error::NotFound).is_none());
    /// ```
    pub fn of(error: &diesel::result::Error) -> Option<&Error> {
        match error {
            diesel::result::Error::QueryBuilderError(inner) => inner.downcast_ref(),
            _ => None,
        }
    }
}

impl Deref for Error {
    type Target = ErrorKind;

    fn deref(&self) -> &ErrorKind {
        &self.0
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Error(kind)
    }
}

impl From<dbopt_core::error::ConfigError> for Error {
    fn from(error: dbopt_core::error::ConfigError) -> Self {
        Error(error.into())
    }
}

/// The variant that diesel keeps for errors of others.
impl From<Error> for diesel::result::Error {
    fn from(error: Error) -> Self {
        diesel::result::Error::QueryBuilderError(Box::new(error))
    }
}
