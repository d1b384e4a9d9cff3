//! Posting JSON to one address, without ever showing it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;

use crate::alert::deliver::{Again, Failure};

/// As much of an answer as is worth reading.
const READ: usize = 300;

/// One address.
pub(super) struct Target {
    client: Client,
    url: Url,
    /// What must not be shown, should a receiver repeat it.
    secrets: Vec<String>,
}

impl Target {
    /// `key` is the setting that names the address.
    pub(super) fn new(key: &str, url: &str, secrets: &[&str]) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|why| format!("{key} is no address of a web server: {why}"))?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls().map_err(|why| format!("{key}: TLS cannot be set up: {why}"))?)
            .user_agent(concat!("dbopt/", env!("CARGO_PKG_VERSION")))
            // A secret goes to the address that was configured and nowhere else.
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|why| format!("{key}: no HTTP client can be made: {}", innermost(&why)))?;
        let mut secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        secrets.retain(|secret| !secret.is_empty());
        Ok(Target { client, url, secrets })
    }

    /// Posts a body; what the receiver answered.
    pub(super) async fn post(&self, body: &Value, headers: &[(&'static str, String)]) -> Result<String, Failure> {
        let mut request =
            self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(body.to_string());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.map_err(|why| Failure::passing(self.hide(innermost(&why.without_url()))))?;
        let status = answer.status();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let said = self.hide(beginning(answer).await);
        let text = format!("{status} {said}").trim_end().to_owned();
        match status {
            _ if status.is_success() => Ok(text),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Err(Failure { why: text, again: Again::After(retry_after.map(Duration::from_secs)) })
            }
            _ if status.is_server_error() => {
                Err(Failure { why: text, again: Again::After(retry_after.map(Duration::from_secs)) })
            }
            _ if status.is_redirection() => {
                Err(Failure::lasting(format!("{status}: it has moved; write the new address into the settings")))
            }
            _ => Err(Failure::lasting(text)),
        }
    }

    fn hide(&self, text: String) -> String {
        self.secrets.iter().fold(text, |text, secret| text.replace(secret.as_str(), "(hidden)"))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target(hidden)")
    }
}

/// The system's certificates, through the same TLS as everywhere else in dbopt.
fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The beginning of an answer as one line; a receiver that sends without end is not listened to.
async fn beginning(mut answer: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < READ {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    bytes.truncate(READ);
    String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The cause at the bottom, which is what a person can do something about.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
