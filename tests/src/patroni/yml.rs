//! The settings of a member.

use std::path::Path;

/// What kind of cluster is made.
#[derive(Debug, Clone)]
pub struct Kind {
    /// How many members follow the leader.
    pub followers: usize,
    /// Whether the leader goes on without etcd.
    pub failsafe: bool,
    /// Whether writes wait until any other member has them: from Patroni 4 on.
    pub quorum: bool,
    /// Whether the REST API speaks TLS.
    pub tls: bool,
}

impl Default for Kind {
    fn default() -> Self {
        Kind { followers: 2, failsafe: true, quorum: false, tls: false }
    }
}

/// What is a member's own.
pub(super) struct Own<'a> {
    pub(super) name: &'a str,
    pub(super) port: u16,
    pub(super) api: u16,
    pub(super) etcd: u16,
    pub(super) home: &'a Path,
    pub(super) bin: &'a Path,
    /// Beside it are the certificate and its key.
    pub(super) authority: Option<&'a Path>,
}

pub(super) fn yml(own: &Own<'_>, kind: &Kind) -> String {
    let Own { name, port, api, etcd, .. } = own;
    let (home, bin) = (own.home.display(), own.bin.display());
    let tls = own.authority.map(|authority| (authority.display(), authority.with_file_name("server")));
    let (rest, ctl) = tls.map_or_else(Default::default, |(authority, server)| {
        let server = server.display();
        (
            format!(", certfile: \"{server}.crt\", keyfile: \"{server}.key\""),
            format!("ctl: {{cacert: \"{authority}\"}}\n"),
        )
    });
    let synchronous = if kind.quorum { "quorum" } else { "off" };
    let failsafe = kind.failsafe;
    // The later name of `master_start_timeout`, which all versions know, is `primary_start_timeout`.
    format!(
        r#"scope: dbopt
name: {name}
restapi: {{listen: "127.0.0.1:{api}", connect_address: "127.0.0.1:{api}", authentication: {{username: padm, password: pad@m}}{rest}}}
{ctl}etcd3: {{host: "127.0.0.1:{etcd}"}}
bootstrap:
  dcs: {{ttl: 20, loop_wait: 5, retry_timeout: 5, maximum_lag_on_failover: 1048576, master_start_timeout: 0, failsafe_mode: {failsafe},
        synchronous_mode: {synchronous},
        postgresql: {{use_pg_rewind: true, use_slots: true, parameters: {{wal_log_hints: "on", max_wal_senders: 10, max_replication_slots: 10,
        max_connections: 100, fsync: "off", shared_buffers: 16MB}}}}}}
  initdb: [{{encoding: UTF8}}, {{locale: C}}, data-checksums, {{auth: trust}}]
  pg_hba: ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust", "local all all trust"]
postgresql: {{listen: "127.0.0.1:{port}", connect_address: "127.0.0.1:{port}", data_dir: {home}/data, bin_dir: {bin}, pgpass: {home}/pgpass,
  authentication: {{superuser: {{username: postgres, password: pw}}, replication: {{username: repl, password: pw}}, rewind: {{username: rewinder, password: pw}}}},
  parameters: {{unix_socket_directories: {home}}}}}
"#
    )
}
