//! What everyone who talks to Redis needs: how it is addressed, and when it is not asked.

mod gate;

use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, ProtocolVersion};

pub(crate) use gate::Gate;

/// A client for `url`. The error says what a URL looks like; the library's own may quote the password.
pub(crate) fn client(url: &str) -> Result<Client, &'static str> {
    let unreadable = |_| "the URL should look like redis://user:password@host:6379/0";
    let info = url.into_connection_info().map_err(unreadable)?;
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let info = info.set_redis_settings(redis).set_tcp_settings(TcpSettings::default().set_nodelay(true));
    Client::open(info).map_err(unreadable)
}

/// A line of `INFO`.
pub(crate) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
