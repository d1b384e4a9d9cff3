//! What limits said, as header fields: `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-10, `Retry-After`.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::context::Consulted;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Adds what the limits said to a response. One that failed because of a limit is the client's to repeat: 429 in place of 5xx.
pub(super) fn tell(consulted: &[Consulted], status: &mut StatusCode, headers: &mut HeaderMap) {
    if consulted.is_empty() {
        return;
    }
    let (limits, policies) = (limits(consulted), policies(consulted));
    for (name, text) in [(RATE_LIMIT, limits), (POLICY, policies)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    let Some(retry_after) = consulted.iter().filter_map(|limit| limit.refused).max() else { return };
    if status.is_server_error() {
        *status = StatusCode::TOO_MANY_REQUESTS;
    }
    if *status == StatusCode::TOO_MANY_REQUESTS && !headers.contains_key(header::RETRY_AFTER) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(retry_after).max(1)));
    }
}

/// Whole seconds, rounded up: whoever waits for that long is not too early.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// `"user";r=42;t=17`, the tightest first.
fn limits(consulted: &[Consulted]) -> String {
    let mut sorted: Vec<&Consulted> = consulted.iter().collect();
    sorted.sort_by_key(|limit| limit.remaining);
    let mut text = String::new();
    for limit in sorted {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}\"{}\";r={};t={}", limit.name, limit.remaining, seconds(limit.reset));
    }
    text
}

/// `"user";q=100;w=60`; a limit with several windows is told by each of them.
fn policies(consulted: &[Consulted]) -> String {
    let mut text = String::new();
    for limit in consulted {
        for rate in &limit.windows {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}\"{}\";q={};w={}", limit.name, rate.count, seconds(rate.window));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::{Rates, Scope};

    fn consulted(name: &str, rates: &str, remaining: u32, refused: Option<u64>) -> Consulted {
        let rates: Rates = rates.parse().unwrap();
        Consulted {
            scope: Scope::User,
            name: name.into(),
            windows: rates.windows().to_vec(),
            remaining,
            reset: Duration::from_millis(2_300),
            refused: refused.map(Duration::from_millis),
        }
    }

    fn told(status: u16, consulted: &[Consulted]) -> (u16, HeaderMap) {
        let (mut status, mut headers) = (StatusCode::from_u16(status).unwrap(), HeaderMap::new());
        tell(consulted, &mut status, &mut headers);
        (status.as_u16(), headers)
    }

    #[test]
    fn an_answer_tells_what_is_left() {
        let (status, headers) =
            told(200, &[consulted("global", "10000/min", 70, None), consulted("user", "5/s, 100/min", 3, None)]);
        assert_eq!((status, headers.get("retry-after")), (200, None));
        assert_eq!(headers["ratelimit"], "\"user\";r=3;t=3, \"global\";r=70;t=3");
        assert_eq!(headers["ratelimit-policy"], "\"global\";q=10000;w=60, \"user\";q=5;w=1, \"user\";q=100;w=60");
    }

    #[test]
    fn a_refusal_is_429_with_the_time_to_come_back() {
        let limits = [consulted("user", "100/min", 0, Some(1_200))];
        let (status, headers) = told(500, &limits);
        assert_eq!((status, headers["retry-after"].to_str().unwrap()), (429, "2"));
        assert_eq!(told(429, &limits).1["retry-after"], "2");
        // A handler that went on without the call has its own answer.
        let (status, headers) = told(200, &limits);
        assert_eq!((status, headers.get("retry-after")), (200, None));
    }

    #[test]
    fn a_request_that_no_limit_concerned_says_nothing() {
        assert!(told(500, &[]).1.is_empty());
    }
}
