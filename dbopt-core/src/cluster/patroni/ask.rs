//! How Patroni is asked: HTTP/1.0, a connection for each question, as its server wants it.

use super::answer::Listed;
use crate::secret::Secret;

/// Where a member's REST API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Scheme, host and port: what may be shown.
    pub(super) base: String,
    /// User and password, for orders.
    credentials: Secret,
}

/// An answer, whatever its code.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Address {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// What is wrong with it and what to write, without showing it.
    pub(super) fn new(url: &Secret) -> Result<Self, String> {
        let text = url.expose().trim();
        let begins = ["http://", "https://"].into_iter().find(|scheme| text.starts_with(scheme));
        let Some(scheme) = begins else {
            return Err("must begin with http:// or https://: write it as http://db1:8008".into());
        };
        let rest = text[scheme.len()..].split(['/', '?', '#']).next().unwrap_or_default();
        let (credentials, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let host = place.rsplit_once(':').map_or(place, |(host, port)| if port.ends_with(']') { place } else { host });
        if host.is_empty() || place.contains(char::is_whitespace) {
            return Err("names no host: write it as http://db1:8008".into());
        }
        Ok(Address { base: format!("{scheme}{place}"), credentials: Secret::new(credentials) })
    }

    /// Where a member listens, by the word of whoever listed it.
    pub(super) fn of(member: &Listed) -> Option<Self> {
        Address::new(&Secret::new(&**member.api.as_ref()?)).ok()
    }

    /// The same place, addressed as whoever has the credentials of `other`.
    pub(super) fn with_credentials_of(mut self, other: &Address) -> Self {
        self.credentials = other.credentials.clone();
        self
    }

    /// The value of `Authorization`, if there are credentials.
    #[cfg(any(feature = "patroni", test))]
    pub(super) fn authorization(&self) -> Option<String> {
        let (user, password) = self.credentials.expose().split_once(':')?;
        let both = [decoded(user), vec![b':'], decoded(password)].concat();
        Some(format!("Basic {}", base64(&both)))
    }
}

/// What `%40` and the like stand for.
#[cfg(any(feature = "patroni", test))]
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(any(feature = "patroni", test))]
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// Why there is no answer, with what to write where the settings, or the member's, are to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unheard {
    pub(super) why: String,
    pub(super) blame: Blame,
}

/// Who is to do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "patroni"), expect(dead_code, reason = "nobody is asked"))]
pub(super) enum Blame {
    /// Nobody yet: it may be down.
    Nobody,
    /// Whoever runs the member.
    Member,
    /// Whoever wrote our settings.
    Settings,
}

impl Unheard {
    pub(super) fn silent(why: impl Into<String>) -> Self {
        Unheard { why: why.into(), blame: Blame::Nobody }
    }
}

impl std::fmt::Display for Unheard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

pub(super) use client::Http;

#[cfg(feature = "patroni")]
mod client {
    use std::io::Cursor;
    use std::path::Path;
    use std::sync::Arc;

    use http::{Method, Request, Version};
    use http_body_util::{BodyExt, Full, Limited};
    use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
    use hyper_util::client::legacy::Client;
    use hyper_util::client::legacy::connect::HttpConnector;
    use hyper_util::rt::TokioExecutor;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::super::untrusted;
    use super::{Address, Answer, Unheard};

    /// More than any member has to say.
    const MOST: usize = 4 << 20;

    /// Asks members.
    #[derive(Debug, Clone)]
    pub(in crate::cluster::patroni) struct Http {
        client: Client<HttpsConnector<HttpConnector>, Full<Cursor<Vec<u8>>>>,
        /// The authority's file, or `system`.
        authority: String,
    }

    impl Http {
        /// `authority` is a PEM file, or `system` for the system's authorities.
        ///
        /// # Errors
        /// When the file cannot be read, or TLS cannot be set up.
        pub(in crate::cluster::patroni) fn new(authority: &str) -> Result<Self, String> {
            let mut tcp = HttpConnector::new();
            tcp.enforce_http(false);
            let tls = tls(authority)?;
            let connector =
                HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
            let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
            Ok(Http { client, authority: authority.to_owned() })
        }

        /// Asks; the caller bounds it in time.
        pub(in crate::cluster::patroni) async fn get(&self, address: &Address, path: &str) -> Result<Answer, Unheard> {
            self.send(Method::GET, address, path, "").await
        }

        /// Gives an order; the caller bounds it in time.
        pub(in crate::cluster::patroni) async fn post(
            &self,
            address: &Address,
            path: &str,
            body: &str,
        ) -> Result<Answer, Unheard> {
            self.send(Method::POST, address, path, body).await
        }

        async fn send(&self, method: Method, address: &Address, path: &str, body: &str) -> Result<Answer, Unheard> {
            let mut request = Request::builder()
                .method(&method)
                .version(Version::HTTP_10)
                .uri(format!("{}{path}", address.base))
                .header(http::header::USER_AGENT, concat!("dbopt/", env!("CARGO_PKG_VERSION")));
            if method == Method::POST {
                request = request.header(http::header::CONTENT_TYPE, "application/json");
                if let Some(authorization) = address.authorization() {
                    request = request.header(http::header::AUTHORIZATION, authorization);
                }
            }
            let body = Full::new(Cursor::new(body.as_bytes().to_vec()));
            let request = request.body(body).map_err(|why| Unheard::silent(format!("no address: {why}")))?;
            let unheard = |why: &(dyn std::error::Error + 'static)| untrusted::unheard(why, address, &self.authority);
            let answer = self.client.request(request).await.map_err(|why| unheard(&why))?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), MOST).collect().await.map_err(|why| unheard(&*why))?;
            Ok(Answer { status, text: String::from_utf8_lossy(&body.to_bytes()).into_owned() })
        }
    }

    fn tls(authority: &str) -> Result<rustls::ClientConfig, String> {
        let mut roots = rustls::RootCertStore::empty();
        if authority == "system" {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        } else {
            let unread =
                |why: &dyn std::fmt::Display| format!("cluster.patroni.sslrootcert: {authority} cannot be read: {why}");
            let certificates = CertificateDer::pem_file_iter(Path::new(authority)).map_err(|why| unread(&why))?;
            let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|why| unread(&why))?;
            let (taken, _) = roots.add_parsable_certificates(certificates);
            if taken == 0 {
                return Err(format!(
                    "cluster.patroni.sslrootcert: {authority} has no certificate: write the PEM file of the authority"
                ));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|why| format!("TLS cannot be set up: {why}"))?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }
}

#[cfg(not(feature = "patroni"))]
mod client {
    use super::{Address, Answer, Unheard};

    const NOT_BUILT: &str = "build dbopt with its feature `patroni`";

    /// Asks nobody.
    #[derive(Debug, Clone)]
    pub(in crate::cluster::patroni) struct Http(());

    impl Http {
        pub(in crate::cluster::patroni) fn new(_: &str) -> Result<Self, String> {
            Err(NOT_BUILT.into())
        }

        pub(in crate::cluster::patroni) async fn get(&self, _: &Address, _: &str) -> Result<Answer, Unheard> {
            Err(Unheard::silent(NOT_BUILT))
        }

        pub(in crate::cluster::patroni) async fn post(&self, _: &Address, _: &str, _: &str) -> Result<Answer, Unheard> {
            Err(Unheard::silent(NOT_BUILT))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_may_be_shown() {
        let base = |text: &str| Address::new(&Secret::new(text)).map(|address| address.base);
        assert_eq!(base("http://db1:8008"), Ok("http://db1:8008".into()));
        assert_eq!(base(" https://padm:p%40ss@db1:8008/patroni?x "), Ok("https://db1:8008".into()));
        assert_eq!(base("http://[::1]:8008/cluster"), Ok("http://[::1]:8008".into()));
        for wrong in ["db1:8008", "postgres://db1/x", "http://", "http://:8008", "http:///x", "http://a b:1"] {
            assert!(base(wrong).unwrap_err().contains("write it as"), "{wrong}");
        }
        assert!(!format!("{:?}", Address::new(&Secret::new("http://u:geheim@h:1"))).contains("geheim"));
    }

    #[test]
    fn credentials_are_sent_as_they_are_meant() {
        let of = |text: &str| Address::new(&Secret::new(text)).unwrap().authorization();
        assert_eq!(of("http://Aladdin:open%20sesame@h:1").as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        assert_eq!(of("http://a:b@h:1").as_deref(), Some("Basic YTpi"));
        assert_eq!(of("http://ab:cd@h:1").as_deref(), Some("Basic YWI6Y2Q="));
        assert_eq!(of("http://a:100%@h:1").as_deref(), Some(&*format!("Basic {}", base64(b"a:100%"))));
        assert_eq!((of("http://h:1"), of("http://user@h:1")), (None, None));
    }
}
