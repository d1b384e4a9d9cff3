//! The texts a node starts from: settings, access rules, connection strings. Pure.

use std::fmt::Write as _;

/// What distinguishes a cluster's nodes from PostgreSQL's defaults; the order is that of the file.
///
/// The replication settings are those that failover and resynchronisation need (`wal_log_hints` for pg_rewind, slots,
/// short timeouts); `full_page_writes` stays on even for disposable data because pg_rewind insists on it.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    // The same on all nodes: a standby with less than its primary refuses to start.
    ("max_connections", "200"),
    ("max_wal_senders", "20"),
    ("max_replication_slots", "20"),
    ("wal_level", "replica"),
    ("wal_log_hints", "on"),
    ("hot_standby", "on"),
    ("wal_keep_size", "128MB"),
    ("max_slot_wal_keep_size", "1GB"),
    ("wal_sender_timeout", "10s"),
    ("wal_receiver_timeout", "5s"),
    ("wal_receiver_status_interval", "1s"),
    ("wal_retrieve_retry_interval", "1s"),
    ("recovery_target_timeline", "latest"),
    // Files instead of /dev/shm: a killed server then leaves nothing outside its folder.
    ("dynamic_shared_memory_type", "mmap"),
    // Clients match on message text now and then; the language of this machine must not decide.
    ("lc_messages", "C"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("log_line_prefix", "%m [%p] %q%u@%d "),
];

/// Trades what only matters for data that shall survive a power cut.
const DISPOSABLE: &[(&str, &str)] = &[("fsync", "off")];

/// What a node's settings file is made from.
pub(super) struct Settings<'a> {
    pub(super) port: u16,
    pub(super) durable: bool,
    pub(super) tls: bool,
    pub(super) upstream: Option<Upstream<'a>>,
    /// The user's, last and so decisive.
    pub(super) extra: &'a [(String, String)],
}

/// Whom a standby follows.
pub(super) struct Upstream<'a> {
    pub(super) port: u16,
    pub(super) password: Option<&'a str>,
    /// The standby's own name: what the upstream's `pg_stat_replication` will show.
    pub(super) name: &'a str,
}

impl Settings<'_> {
    pub(super) fn render(&self) -> String {
        let mut text = String::from("# Written by dbopt at every start. To change a running node use ALTER SYSTEM.\n");
        let port = self.port.to_string();
        let mut all: Vec<(&str, &str)> = vec![("port", &port)];
        all.extend_from_slice(SETTINGS);
        if !self.durable {
            all.extend_from_slice(DISPOSABLE);
        }
        if self.tls {
            // Relative to the data folder; one level up they are out of the reach of pg_rewind and pg_basebackup.
            all.extend_from_slice(&[
                ("ssl", "on"),
                ("ssl_cert_file", "../../tls/server.crt"),
                ("ssl_key_file", "../../tls/server.key"),
            ]);
        }
        let (conninfo, slot);
        if let Some(upstream) = &self.upstream {
            conninfo = upstream.conninfo();
            slot = slot_name(upstream.name);
            all.extend_from_slice(&[("primary_conninfo", &conninfo), ("primary_slot_name", &slot)]);
        }
        all.extend(self.extra.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        for (name, value) in all {
            let _ = writeln!(text, "{name} = {}", literal(value));
        }
        text
    }
}

impl Upstream<'_> {
    fn conninfo(&self) -> String {
        let mut text = format!(
            "host=127.0.0.1 port={} user=postgres application_name={} connect_timeout=2 tcp_user_timeout=5000 \
             sslmode=disable gssencmode=disable",
            self.port, self.name
        );
        if let Some(password) = self.password {
            let _ = write!(text, " password='{}'", password.replace('\\', "\\\\").replace('\'', "\\'"));
        }
        text
    }
}

/// Who may connect: everybody on this machine, by password when there is one.
pub(super) fn access_rules(password: bool) -> String {
    let method = if password { "scram-sha-256" } else { "trust" };
    format!("host all all 127.0.0.1/32 {method}\nhost replication all 127.0.0.1/32 {method}\n")
}

/// Slots allow lower-case letters, digits and underscores only.
pub(super) fn slot_name(node: &str) -> String {
    node.replace('-', "_")
}

/// A value in a settings file, and a literal in SQL with `standard_conforming_strings`, except for the backslash.
pub(super) fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// A literal in SQL.
pub(super) fn sql_literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// An identifier in SQL.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A connection string.
pub(super) fn url(port: u16, database: &str, password: Option<&str>, tls: bool) -> String {
    let secret = password.map(|password| format!(":{}", percent(password))).unwrap_or_default();
    let query = if tls { "?sslmode=require" } else { "" };
    format!("postgres://postgres{secret}@127.0.0.1:{port}/{}{query}", percent(database))
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings<'a>(extra: &'a [(String, String)], upstream: Option<Upstream<'a>>) -> Settings<'a> {
        Settings { port: 20_001, durable: false, tls: false, upstream, extra }
    }

    #[test]
    fn the_users_settings_come_last() {
        let extra = [("max_connections".to_owned(), "50".to_owned())];
        let text = settings(&extra, None).render();
        assert!(text.rfind("max_connections = '50'").unwrap() > text.find("max_connections = '200'").unwrap());
        assert!(text.contains("fsync = 'off'") && !text.contains("primary_conninfo") && !text.contains("ssl"));
    }

    #[test]
    fn durable_data_keeps_fsync() {
        assert!(!Settings { durable: true, ..settings(&[], None) }.render().contains("fsync"));
    }

    #[test]
    fn a_password_survives_both_levels_of_quotes() {
        let upstream = Upstream { port: 20_002, password: Some(r"it's a \ word"), name: "replica-1" };
        let text = settings(&[], Some(upstream)).render();
        assert!(text.contains(r"password=''it\\''s a \\\\ word''"), "{text}");
        assert!(text.contains("primary_slot_name = 'replica_1'") && text.contains("application_name=replica-1"));
    }

    #[test]
    fn urls_carry_any_name_and_password() {
        assert_eq!(url(20_003, "app", None, false), "postgres://postgres@127.0.0.1:20003/app");
        assert_eq!(
            url(20_003, "my db", Some("a/b:c@ü"), true),
            "postgres://postgres:a%2Fb%3Ac%40%C3%BC@127.0.0.1:20003/my%20db?sslmode=require"
        );
    }
}
