//! Posting JSON to one address, without ever showing it.

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::alert::deliver::{Again, Failure};

/// As much of an answer as is worth reading.
const READ: usize = 300;

type Body = Full<Cursor<Vec<u8>>>;

/// One address. Redirections are not followed: a secret goes where it was configured to go, and nowhere else.
pub(super) struct Target {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    uri: Uri,
    /// What must not be shown, should a receiver repeat it.
    secrets: Vec<String>,
}

impl Target {
    /// `key` is the setting that names the address; `secrets` what must not be shown of it.
    pub(super) fn new(key: &str, url: &str, secrets: &[&str]) -> Result<Self, String> {
        let uri = url.parse().map_err(|why| format!("{key} is no address of a web server: {why}"))?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(Duration::from_secs(5)));
        let tls = tls().map_err(|why| format!("{key}: TLS cannot be set up: {why}"))?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        let secrets = secrets.iter().filter(|secret| !secret.is_empty()).map(|secret| (*secret).to_owned()).collect();
        // Alerts are rare: a connection that was kept would be dead when it is needed.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Target { client, uri, secrets })
    }

    /// Posts a body; what the receiver answered.
    pub(super) async fn post(&self, body: &Value, headers: &[(&'static str, String)]) -> Result<String, Failure> {
        let mut request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("dbopt/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let body = Full::new(Cursor::new(body.to_string().into_bytes()));
        let request = request.body(body).map_err(|why| Failure::lasting(self.hide(why.to_string())))?;
        let answer = self.client.request(request).await.map_err(|why| Failure::passing(self.hide(innermost(&why))))?;
        let status = answer.status();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        // A secret that were cut in two would not be found.
        let enough = READ + self.secrets.iter().map(String::len).max().unwrap_or_default();
        let said: String = self.hide(beginning(answer.into_body(), enough).await).chars().take(READ).collect();
        let text = format!("{status} {said}").trim_end().to_owned();
        match status {
            _ if status.is_success() => Ok(text),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Err(later(text, retry_after)),
            _ if status.is_server_error() => Err(later(text, retry_after)),
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

fn later(why: String, seconds: Option<u64>) -> Failure {
    Failure { why, again: Again::After(seconds.map(Duration::from_secs)) }
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
async fn beginning(mut answer: impl BodyExt<Data: AsRef<[u8]>> + Unpin, enough: usize) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < enough {
        match answer.frame().await {
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[], AsRef::as_ref)),
            Some(Err(_)) | None => break,
        }
    }
    bytes.truncate(enough);
    String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The cause at the bottom, which is what a person can do something about.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
