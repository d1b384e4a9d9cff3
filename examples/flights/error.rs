//! What can go wrong, and what the caller of the service sees of it.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dbopt_diesel::ErrorKind;
use serde::Serialize;

use crate::models::Status;

/// Every way a request can fail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// There is no such thing.
    #[error("there is no {what} {id}")]
    NotFound {
        /// Flight, booking or airport.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// The address leads nowhere.
    #[error("there is nothing at this address")]
    NoRoute,
    /// The address is right and the verb is not.
    #[error("this address does not take that method")]
    WrongMethod,
    /// All seats are taken.
    #[error("flight {flight} is sold out")]
    SoldOut {
        /// The flight.
        flight: i64,
    },
    /// Only scheduled flights can be changed or booked.
    #[error("flight {flight} cannot be changed any more: it is {}", status.as_str())]
    NotScheduled {
        /// The flight.
        flight: i64,
        /// What it is instead.
        status: Status,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// dbopt could not run the call: no connection, an open circuit, a limit.
    #[error(transparent)]
    Dbopt(#[from] dbopt_diesel::Error),
    /// A statement failed.
    #[error(transparent)]
    Query(#[from] diesel::result::Error),
}

impl AppError {
    /// Shorthand for [`AppError::NotFound`].
    pub fn not_found(what: &'static str, id: impl ToString) -> Self {
        AppError::NotFound { what, id: id.to_string() }
    }

    fn status(&self) -> StatusCode {
        match self {
            AppError::NotFound { .. } | AppError::NoRoute => StatusCode::NOT_FOUND,
            AppError::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            AppError::SoldOut { .. } | AppError::NotScheduled { .. } => StatusCode::CONFLICT,
            AppError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            AppError::Dbopt(error) if matches!(error.kind(), ErrorKind::RateLimited { .. }) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            AppError::Dbopt(error) if error.retry_after().is_some() => StatusCode::SERVICE_UNAVAILABLE,
            AppError::Dbopt(_) | AppError::Query(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            AppError::Dbopt(error) => error.retry_after(),
            _ => None,
        }
    }
}

/// The body of a failure: "problem details" as RFC 9457 has them.
#[derive(Serialize)]
struct Problem {
    title: &'static str,
    status: u16,
    detail: String,
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let status = self.status();
        let detail = match status {
            // Statements, hosts and constraint names are for the log, not for the caller.
            StatusCode::INTERNAL_SERVER_ERROR => {
                tracing::error!(error = &self as &dyn std::error::Error, "request failed");
                "something went wrong on our side; it has been logged".to_owned()
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                tracing::warn!(error = &self as &dyn std::error::Error, "request refused");
                "the service is busy; please come back a little later".to_owned()
            }
            _ => self.to_string(),
        };
        let title = status.canonical_reason().unwrap_or_default();
        let mut response = (status, Json(Problem { title, status: status.as_u16(), detail })).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.retry_after() {
            // Whole seconds is all HTTP can say; rounded down, callers would be back too early.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1000).max(1) as u64));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(error: AppError) -> (u16, serde_json::Value) {
        let response = error.into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn each_failure_has_its_status_and_says_what_happened() {
        let cases = [
            (AppError::not_found("flight", 7), 404, "there is no flight 7"),
            (AppError::SoldOut { flight: 7 }, 409, "flight 7 is sold out"),
            (
                AppError::NotScheduled { flight: 7, status: Status::Cancelled },
                409,
                "flight 7 cannot be changed any more: it is cancelled",
            ),
            (AppError::Invalid("`minutes` is too large".into()), 422, "`minutes` is too large"),
        ];
        for (error, status, detail) in cases {
            let (got, body) = answer(error).await;
            assert_eq!(
                (got, body["status"].as_u64(), body["detail"].as_str()),
                (status, Some(status.into()), Some(detail))
            );
        }
    }

    #[tokio::test]
    async fn a_failed_statement_tells_the_caller_nothing_about_the_database() {
        let secret = diesel::result::Error::QueryBuilderError("relation \"bookings\" at 10.0.0.7".into());
        let (status, body) = answer(secret.into()).await;
        assert_eq!(status, 500);
        assert!(!body.to_string().contains("bookings") && !body.to_string().contains("10.0.0.7"), "{body}");
    }
}
