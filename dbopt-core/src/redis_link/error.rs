//! Why Redis gave no answer; never a reason to fail a call.

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
    #[error("the Redis settings are wrong: {0}")]
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
