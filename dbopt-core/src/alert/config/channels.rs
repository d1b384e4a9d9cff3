//! Where alerts go.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// Mail over SMTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Email {
    /// The name of the mail server; empty, the default: no mail.
    pub host: String,
    /// Its port. Default 587; 465 with `tls = "tls"`.
    pub port: u16,
    /// How the connection is encrypted: `starttls` (default), `tls` from the start, or `none`.
    pub tls: Tls,
    /// The user to log in as; empty, the default: without login.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// The sender, such as `Alerts <alerts@example.com>`.
    pub from: String,
    /// The receivers.
    pub to: Vec<String>,
}

impl Default for Email {
    fn default() -> Self {
        Email {
            host: String::new(),
            port: 587,
            tls: Tls::default(),
            user: String::new(),
            password: Secret::default(),
            from: String::new(),
            to: Vec::new(),
        }
    }
}

/// How a connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Not at first, and by STARTTLS before anything is said; a server that cannot do that is not used.
    #[default]
    StartTls,
    /// From the start.
    Tls,
    /// Not at all: for a mail server on this host.
    None,
}

/// A Slack incoming webhook, or anything that understands its messages, such as Mattermost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slack {
    /// The webhook's address, which is a secret; empty, the default: Slack is not told.
    pub url: Secret,
}

/// PagerDuty's Events API v2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PagerDuty {
    /// The integration key of the service; empty, the default: PagerDuty is not told.
    pub routing_key: Secret,
    /// The API's address. Default `https://events.pagerduty.com/v2/enqueue`; in Europe `https://events.eu.pagerduty.com/v2/enqueue`.
    pub url: String,
}

impl Default for PagerDuty {
    fn default() -> Self {
        PagerDuty { routing_key: Secret::default(), url: "https://events.pagerduty.com/v2/enqueue".into() }
    }
}

/// Any HTTP address, which gets JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// The address; empty, the default: none is told.
    pub url: Secret,
    /// What signs the body, in the header `dbopt-signature: sha256=<HMAC-SHA256 in hex>`; empty, the default: nothing does.
    pub secret: Secret,
}

impl Email {
    pub(super) fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.host.is_empty() {
            if !self.to.is_empty() || !self.from.is_empty() {
                found.push("alerts.email.host is missing: write the name of your mail server".into());
            }
            return found;
        }
        if self.host.contains([':', '/', '@', ' ']) {
            found.push(
                "alerts.email.host: write the name of the mail server alone, the port in alerts.email.port".into(),
            );
        }
        if self.to.is_empty() {
            found.push("alerts.email.to is empty: write who gets the mail, such as [\"oncall@example.com\"]".into());
        }
        for (key, address) in self.to.iter().map(|to| ("to", to)).chain([("from", &self.from)]) {
            if !is_address(address) {
                found.push(format!(
                    "alerts.email.{key} = \"{address}\" is no address: write one such as \"oncall@example.com\" or \
                     \"Alerts <alerts@example.com>\""
                ));
            }
        }
        if self.user.is_empty() != self.password.is_empty() {
            found.push("alerts.email.user and alerts.email.password belong together: write both or neither".into());
        }
        let near = ["localhost", "127.0.0.1", "::1"].contains(&self.host.as_str());
        if self.tls == Tls::None && !self.password.is_empty() && !near {
            found.push(
                "alerts.email.tls = \"none\" would send the password in clear over the network: write \"starttls\" or \"tls\""
                    .into(),
            );
        }
        found
    }
}

/// `name@domain`, or the same in angle brackets behind a name.
fn is_address(text: &str) -> bool {
    let address = match text.trim().strip_suffix('>') {
        Some(named) => named.rsplit_once('<').map_or("", |(_, address)| address),
        None => text.trim(),
    };
    let part = |part: &str| {
        !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control() || "<>@,".contains(c))
    };
    !text.contains(['\r', '\n'])
        && address.rsplit_once('@').is_some_and(|(name, domain)| part(name) && part(domain) && !domain.starts_with('.'))
}

impl Slack {
    pub(super) fn problems(&self) -> Option<String> {
        url_problem("alerts.slack.url", self.url.expose(), "https://hooks.slack.com/services/…")
    }
}

impl PagerDuty {
    pub(super) fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.routing_key.is_empty() {
            found.extend(url_problem("alerts.pagerduty.url", &self.url, "https://events.pagerduty.com/v2/enqueue"));
            if self.url.is_empty() {
                found.push("alerts.pagerduty.url is empty: leave it out, or write the address of your region".into());
            }
        }
        if self.routing_key.expose().contains(|c: char| !c.is_ascii_alphanumeric()) {
            found.push(
                "alerts.pagerduty.routing_key: write the integration key of an \"Events API v2\" integration, 32 letters and digits"
                    .into(),
            );
        }
        found
    }
}

impl Webhook {
    pub(super) fn problems(&self) -> Vec<String> {
        let mut found: Vec<String> =
            url_problem("alerts.webhook.url", self.url.expose(), "https://example.com/alerts").into_iter().collect();
        if self.url.is_empty() && !self.secret.is_empty() {
            found.push("alerts.webhook.secret signs nothing: write alerts.webhook.url too".into());
        }
        found
    }
}

/// The address itself is never quoted: it may be a secret.
fn url_problem(key: &str, url: &str, usual: &str) -> Option<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
    if host.contains('@') {
        return Some(format!(
            "{key} holds a user: write the address without it; the path is what a webhook keeps secret"
        ));
    }
    let wrong = !url.is_empty() && (host.is_empty() || url.contains(char::is_whitespace));
    wrong.then(|| format!("{key} is no address of a web server: write one such as \"{usual}\""))
}
