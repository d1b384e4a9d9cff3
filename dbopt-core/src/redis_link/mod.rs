//! What everyone who talks to Redis needs: how it is addressed, how questions go together, and when it is not asked.

mod error;
mod gate;
mod gather;

use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, ProtocolVersion};

use crate::secret::Secret;

pub use error::Error;
pub(crate) use gate::Gate;
pub(crate) use gather::{Asked, Gather, LANES};

/// A client for `url`. The error says what a URL looks like; the library's own may quote the password.
pub(crate) fn client(url: &str) -> Result<Client, &'static str> {
    let unreadable = |_| "the URL should look like redis://user:password@host:6379/0";
    let info = url.into_connection_info().map_err(unreadable)?;
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let info = info.set_redis_settings(redis).set_tcp_settings(TcpSettings::default().set_nodelay(true));
    Client::open(info).map_err(unreadable)
}

/// What is wrong with the address of a server, and with the name of a namespace there, in the settings of `section`.
pub(crate) fn problems(section: &str, url: &Secret, namespace: &str) -> Vec<String> {
    let mut found = Vec::new();
    if namespace.contains(['{', '}', '*']) {
        found.push(format!("{section}.namespace = {namespace:?}: write a name without braces and stars"));
    }
    if !url.is_empty() && !["redis://", "rediss://", "unix://"].iter().any(|s| url.expose().starts_with(s)) {
        found.push(format!("{section}.redis is no Redis URL: write it as redis://user:password@host:6379/0"));
    }
    found
}

/// A line of `INFO`.
pub(crate) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
