//! Connection URLs. Pure.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use tokio_postgres::config::{Host, SslMode};

/// How a connection is encrypted, as libpq's `sslmode` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// Never.
    Disable,
    /// If the server offers it; no certificate is checked.
    Prefer,
    /// Always; no certificate is checked.
    Require,
    /// Always; the certificate must come from a known authority.
    VerifyCa,
    /// Always; the certificate must also be the host's.
    VerifyFull,
}

/// Where a server is and how to log in there.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// Where to connect instead of looking up the host, which is verified all the same: libpq's `hostaddr`.
    pub(crate) at: Option<IpAddr>,
    pub(crate) encryption: Encryption,
    pub(crate) root_certificate: Option<PathBuf>,
    /// Everything else, for the login.
    pub(crate) login: tokio_postgres::Config,
}

impl Address {
    /// Reads a URL such as `postgres://user:password@host:5432/database?sslmode=verify-full`.
    ///
    /// The message of an error never holds the password.
    pub(crate) fn parse(url: &str) -> Result<Address, String> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err("write it as postgres://user:password@host:5432/database".into());
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        check_user_and_password(base)?;
        let mut encryption = Encryption::Prefer;
        let mut root_certificate = None;
        let mut passed_on = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("sslmode", mode) => encryption = Encryption::from_str(mode)?,
                // libpq's word for the authorities that the system trusts.
                ("sslrootcert", "system") => root_certificate = None,
                ("sslrootcert", path) => root_certificate = Some(PathBuf::from(decoded(path)?)),
                // An error would quote an unknown key: it must not be half a password.
                (key, _) if !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => {
                    return Err(
                        "what follows the ? is not key=value; a ? in the password must be written as %3F".into()
                    );
                }
                _ => passed_on.push(pair),
            }
        }
        let plain = if passed_on.is_empty() { base.to_owned() } else { format!("{base}?{}", passed_on.join("&")) };
        let mut login = tokio_postgres::Config::from_str(&plain).map_err(|e| reason(&e))?;
        let [host] = login.get_hosts() else {
            return Err(format!(
                "it names {} hosts: give every server a URL of its own, in database.replicas",
                login.get_hosts().len()
            ));
        };
        let host = host.clone();
        let port = login.get_ports().first().copied().unwrap_or(5432);
        if login.get_user().is_none() {
            return Err("it names no user: write it as postgres://user@host:5432/database".into());
        }
        let at = login.get_hostaddrs().first().copied();
        login.ssl_mode(SslMode::Disable);
        Ok(Address { host, port, at, encryption, root_certificate, login })
    }

    /// The host and port, without anything secret.
    /// The host's name or address, or the folder of the socket.
    pub(crate) fn host(&self) -> String {
        match &self.host {
            Host::Tcp(host) => host.to_string(),
            Host::Unix(path) => path.display().to_string(),
        }
    }

    pub(crate) fn name(&self) -> String {
        match &self.host {
            Host::Tcp(host) => match self.at {
                Some(at) => format!("{host}:{} ({at})", self.port),
                None => format!("{host}:{}", self.port),
            },
            Host::Unix(path) => format!("{}:{}", path.display(), self.port),
        }
    }
}

impl FromStr for Encryption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "disable" => Encryption::Disable,
            "prefer" | "allow" => Encryption::Prefer,
            "require" => Encryption::Require,
            "verify-ca" => Encryption::VerifyCa,
            "verify-full" => Encryption::VerifyFull,
            other => {
                return Err(format!("sslmode={other} is none of disable, prefer, require, verify-ca, verify-full"));
            }
        })
    }
}

/// Refuses what would make a part of the password look like the host, whose name is shown.
fn check_user_and_password(base: &str) -> Result<(), String> {
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    let (authority, path) = rest.split_at(rest.find(['/', '#']).unwrap_or(rest.len()));
    match authority.matches('@').count() {
        0 if path.contains('@') => Err("a / or # in the user or password must be written as %2F or %23".into()),
        0 | 1 => Ok(()),
        _ => Err("an @ in the user or password must be written as %40".into()),
    }
}

/// The parser's reason, which names the key at fault but never a value.
fn reason(error: &tokio_postgres::Error) -> String {
    use std::error::Error;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err("a % in it is not followed by two hexadecimal digits".into()),
        }
    }
    String::from_utf8(bytes).map_err(|_| "its %-encoded text is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        match Address::parse(url) {
            Err(why) => why,
            Ok(_) => panic!("{url} was taken"),
        }
    }

    #[test]
    fn libpq_modes_and_certificates_are_understood() {
        let address =
            Address::parse("postgres://u:p@h:6000/d?sslmode=verify-full&sslrootcert=%2Fca.pem&application_name=x")
                .unwrap();
        assert_eq!(address.encryption, Encryption::VerifyFull);
        assert_eq!(address.root_certificate, Some("/ca.pem".into()));
        assert_eq!((address.port, address.login.get_application_name()), (6000, Some("x")));
        assert_eq!(address.name(), "h:6000");
    }

    #[test]
    fn an_address_beside_the_name_is_where_to_connect() {
        let address = Address::parse("postgres://u@db.internal/d?hostaddr=10.0.0.7").unwrap();
        assert_eq!((address.host.clone(), address.at), (Host::Tcp("db.internal".into()), Some([10, 0, 0, 7].into())));
        assert_eq!(address.name(), "db.internal:5432 (10.0.0.7)");
    }

    #[test]
    fn what_cannot_be_used_says_what_to_write() {
        assert!(refused("mysql://h/d").contains("postgres://user:password@host"));
        assert!(refused("postgres://u@a,b/d").contains("database.replicas"));
        assert!(refused("postgres://u@h/d?sslmode=maybe").contains("verify-full"));
        assert!(refused("postgres://h/d").contains("no user"));
        assert!(refused("postgres://u@h/d?nonsense=1").contains("nonsense"));
    }

    #[test]
    fn a_refusal_never_holds_the_password() {
        for url in [
            "postgres://u:hunter2@h/d?nonsense=1",
            "postgres://u:hunter2@h:99999/d",
            "postgres://u:hunter2@a,b/d",
            "postgres://u:hunter2@h/d?sslmode=x",
            "postgres://u:a@hunter2@h/d",
            "postgres://u:a/hunter2@h/d",
            "postgres://u:a?hunter2@h/d",
            "postgres://u:a#hunter2@h/d",
        ] {
            assert!(!refused(url).contains("hunter2"), "{url}");
        }
    }
}
