//! Whether a failover would be possible now, and what is missing.

use std::sync::Arc;

use dbopt_core::failover::Seen;
use futures_util::future::join_all;

use super::Supervisor;
use super::link::{Link, quoted};

/// What a coordinator found.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// The primary, if one can be told.
    pub primary: Option<Arc<str>>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether a failover is impossible because of it; otherwise it is slower, or loses more, than it need be.
    pub fatal: bool,
    /// What it is, and what to do.
    pub text: String,
}

impl Readiness {
    /// Whether a failover is possible.
    pub fn is_ready(&self) -> bool {
        self.findings.iter().all(|finding| !finding.fatal)
    }

    /// What is wrong, to read.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.findings.iter().map(|finding| finding.text.as_str())
    }
}

/// Everything besides the look, in one row.
const SQL: &str = "\
SELECT current_setting('server_version_num')::int >= 150000 AS version, \
 current_setting('data_checksums')::bool OR current_setting('wal_log_hints')::bool AS rewindable, \
 coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false) AS superuser, \
 pg_has_role(current_user, 'pg_monitor', 'USAGE') AS monitor, \
 pg_has_role(current_user, 'pg_signal_backend', 'USAGE') AS signal, \
 CASE WHEN current_setting('server_version_num')::int >= 150000 \
  THEN pg_has_role(current_user, (SELECT oid FROM pg_roles WHERE rolname = 'pg_checkpoint'), 'USAGE') ELSE false END AS checkpoint, \
 has_function_privilege('pg_promote(boolean, integer)', 'EXECUTE') AS promote, \
 has_function_privilege('pg_reload_conf()', 'EXECUTE') AS reload, \
 coalesce((SELECT rolreplication FROM pg_roles WHERE rolname = current_user), false) AS replication, \
 (SELECT setting::int FROM pg_settings WHERE name = 'wal_receiver_timeout') AS receiver_timeout, \
 (SELECT setting::int FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS keep";

const SETTINGS: [&str; 4] =
    ["primary_conninfo", "primary_slot_name", "synchronous_standby_names", "default_transaction_read_only"];

impl Supervisor {
    /// Asks every server, changes nothing, asks for no vote.
    pub async fn check(&mut self) -> Readiness {
        let view = self.look(false).await;
        let mut found = Vec::new();
        let mut note = |fatal: bool, text: String| found.push(Finding { fatal, text });
        if self.links.len() < 3 {
            let text = "two servers must agree without the primary: name at least three in [[database.nodes]]; or promote by hand, with \
                        cluster.mode = \"observe\", and run no coordinator";
            note(true, format!("{} configured: {text}", self.links.len()));
        }
        let answering = view.answering().count();
        if answering < view.quorum() {
            note(true, format!("{answering} servers answer, and {} have to agree", view.quorum()));
        }
        let primary = self.memory.leader_of(&view);
        if primary.is_none() {
            note(true, "there is no primary, or nothing tells which of two is it".to_owned());
        }
        for link in self.links.iter().filter(|link| link.seen.is_none()) {
            note(false, format!("{}: it does not answer: {}", link.name, link.trouble));
        }
        for findings in join_all(self.links.iter().map(|link| look_closer(link, self.config.synchronous))).await {
            found.extend(findings);
        }
        found.sort_by_key(|finding| !finding.fatal);
        Readiness { findings: found, primary: primary.map(|node| self.links[node].name.clone()) }
    }
}

async fn look_closer(link: &Link, synchronous: bool) -> Vec<Finding> {
    let Some(seen) = &link.seen else { return Vec::new() };
    let mut found = Vec::new();
    let mut note = |fatal: bool, text: &str| found.push(Finding { fatal, text: format!("{}: {text}", link.name) });
    let rows = match link.rows(SQL).await {
        Ok(rows) => rows,
        Err(error) => return vec![Finding { fatal: true, text: error.to_string() }],
    };
    let row = rows.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let Some(row) = row else { return found };
    let yes = |name: &str| row.get(name) == Some("t");
    let number = |name: &str| row.get(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    if !yes("superuser") {
        if !yes("version") {
            note(
                true,
                "before PostgreSQL 15 only a superuser may change primary_conninfo: supervise as one, or upgrade",
            );
        }
        let wanted = [
            ("monitor", "pg_monitor"),
            ("signal", "pg_signal_backend"),
            ("checkpoint", "pg_checkpoint"),
            ("promote", "EXECUTE on pg_promote(boolean, integer)"),
            ("reload", "EXECUTE on pg_reload_conf()"),
            ("replication", "the attribute REPLICATION, for slots"),
        ];
        let missing: Vec<&str> = wanted.iter().filter(|(column, _)| !yes(column)).map(|(_, what)| *what).collect();
        if !missing.is_empty() {
            note(
                true,
                &format!("the role lacks {}: `dbopt supervise --grants` prints what to run", missing.join(", ")),
            );
        }
        for setting in SETTINGS.iter().filter(|_| yes("version")) {
            let sql = format!("SELECT has_parameter_privilege('{setting}', 'ALTER SYSTEM')");
            let may = link.run(&sql, std::time::Duration::from_secs(2), "a privilege").await;
            if !matches!(may.as_ref().map(Option::as_deref), Ok(Some("t"))) {
                note(
                    true,
                    &format!(
                        "the role may not ALTER SYSTEM SET {setting}: `dbopt supervise --grants` prints what to run"
                    ),
                );
            }
        }
    }
    if !yes("rewindable") {
        note(
            false,
            "neither data checksums nor wal_log_hints: after a failover it has to be copied anew; set wal_log_hints = on",
        );
    }
    let timeout = number("receiver_timeout");
    if timeout == 0 || timeout > 10_000 {
        note(
            false,
            "wal_receiver_timeout is over 10 s: a frozen primary is noticed after half of it at the earliest; set it to 5s",
        );
    }
    if number("keep") < 0 {
        note(
            false,
            "max_slot_wal_keep_size is unlimited: the slot of a lost replica can fill the primary's disk; set a limit",
        );
    }
    found.extend(of_a_replica(link, seen, synchronous));
    found
}

fn of_a_replica(link: &Link, seen: &Seen, synchronous: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut note = |fatal: bool, text: &str| found.push(Finding { fatal, text: format!("{}: {text}", link.name) });
    if !seen.standby {
        return found;
    }
    match &seen.conninfo {
        None => {
            note(true, "primary_conninfo cannot be read: grant pg_monitor, and write it as key=value, not as a URI")
        }
        Some(conninfo) if synchronous && conninfo.get("application_name") != Some(&*link.name) => note(
            true,
            &format!("writes cannot wait for it: add application_name={} to its primary_conninfo", link.name),
        ),
        Some(_) => {}
    }
    if !seen.streams() {
        note(false, "it does not receive");
    }
    if seen.slot.is_none() {
        note(false, "it has no primary_slot_name: it may have to be copied anew after a failover");
    }
    found
}

/// The statements that make a role with all that a coordinator needs, and no more. The password is set apart, by `\password`.
pub fn grants(role: &str) -> String {
    let role = quoted(role);
    format!(
        "-- On the primary, as a superuser; replicas receive it. Rights on functions belong to a database.\n\
         \\connect postgres\n\
         CREATE ROLE {role} LOGIN REPLICATION;\n\
         GRANT pg_monitor, pg_signal_backend, pg_checkpoint TO {role};\n\
         GRANT ALTER SYSTEM ON PARAMETER {} TO {role};\n\
         GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer), pg_reload_conf() TO {role};\n\
         GRANT CONNECT ON DATABASE postgres TO {role};\n",
        SETTINGS.join(", ")
    )
}
