//! Why the second layer could not help; never a reason to fail a call.

use super::Config;

/// Why Redis gave no answer. The caller goes on without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No answer within the budget of the operation.
    #[error("Redis did not answer in time")]
    TimedOut,
    /// There is no connection; one is being opened in the background.
    #[error("there is no connection to Redis")]
    Down,
    /// Not asked: the last answers came too late, or too many questions are waiting.
    #[error("Redis was not asked: it is too slow at the moment")]
    Refused,
    /// Redis refused the command, such as when it is out of memory.
    #[error("Redis refused the command: {0}")]
    Server(String),
    /// The settings do not make sense.
    #[error("the cache's Redis settings are wrong: {0}")]
    Config(&'static str),
}

impl From<redis::RedisError> for Error {
    fn from(error: redis::RedisError) -> Self {
        if error.is_timeout() {
            Error::TimedOut
        } else if error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error() {
            Error::Down
        } else {
            // The server's own words; they name its settings, never our URL.
            let code = error.code().unwrap_or("ERR");
            Error::Server(format!("{code} {}", error.detail().unwrap_or_default()).trim_end().to_owned())
        }
    }
}

impl Config {
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |reason| Err(Error::Config(reason));
        if self.namespace.is_empty() || self.namespace.contains(['{', '}']) {
            return wrong("the namespace must not be empty and must not contain `{` or `}`");
        }
        if self.ttl.is_zero()
            || self.timeout.is_zero()
            || self.connect_timeout.is_zero()
            || self.write_timeout.is_zero()
        {
            return wrong("ttl and timeouts must be longer than nothing");
        }
        if self.writer_lease < std::time::Duration::from_millis(10) || self.forget_after < self.settle {
            return wrong("writer_lease must be at least 10 ms, and forget_after no shorter than settle");
        }
        Ok(())
    }
}
