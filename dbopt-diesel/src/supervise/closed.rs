//! A leader that is closed to writes for a moment, and opens by itself when whoever closed it is gone.
//!
//! The setting holds in the running server alone: its file is cleaned as soon as the server has read it, so that neither a restart nor a copy
//! of the server brings it back. What opens the server is a session of its own there. It waits for a lock that the first session holds,
//! and has the file read again when it gets it: because it was given back, or because that session's owner was killed, or froze for longer
//! than its lease.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Error;
use super::drain::drain;
use super::link::{Link, quoted};

/// The setting that closes a server.
const SETTING: &str = "default_transaction_read_only";
/// Held by the session that closed the server.
const LOCK: &str = "1684172656, 2";
/// How long a statement may take that changes something small.
const STATEMENT: Duration = Duration::from_secs(5);
/// A checkpoint writes all that is dirty.
const CHECKPOINT: Duration = Duration::from_secs(300);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A leader that is closed; it opens when this is dropped, and its link with it.
pub(super) struct Closed<'a> {
    link: &'a Link,
    since: Instant,
}

impl<'a> Closed<'a> {
    /// Closes it, and waits for the transactions that it had begun.
    pub(super) async fn close(link: &'a Link) -> Result<Self, Error> {
        may_close(link).await?;
        let lock = format!("SELECT pg_try_advisory_lock({LOCK})");
        if link.run(&lock, STATEMENT, "a lock").await?.as_deref() != Some("t") {
            return Err(link.refused("another `dbopt switchover` is at work on it"));
        }
        // Patroni makes one before it stops the server, and writes wait for that one: what it would write is written now.
        if let Err(error) = link.run("CHECKPOINT", CHECKPOINT, "a checkpoint").await {
            tracing::warn!(%error, "no checkpoint beforehand: writes wait until Patroni has made one");
        }
        stand_guard(link).await?;
        let closed = Closed { link, since: Instant::now() };
        let shut = async {
            link.set(&[(SETTING, "on")], STATEMENT).await?;
            clean(link).await?;
            drain(link).await
        };
        match shut.await {
            Ok(()) => Ok(closed),
            Err(error) => {
                let _ = clean(link).await;
                closed.open().await;
                Err(error)
            }
        }
    }

    /// Keeps it closed for as long as it may be, and then opens it; never ends when the server is gone.
    pub(super) async fn hold(&self, most: Duration, lease: Duration) {
        while self.since.elapsed() < most {
            sleep((lease / 4).min(most)).await;
            if !self.link.keep(lease / 4).await {
                std::future::pending::<()>().await;
            }
        }
        tracing::warn!(
            node = &*self.link.name,
            "Patroni has not stopped the leader within {most:?}: it takes writes again, and callers may see their connections end"
        );
        self.open().await;
    }

    /// Opens it, if it still runs.
    pub(super) async fn open(&self) {
        let opened = async {
            self.link.run(&format!("SELECT pg_advisory_unlock({LOCK})"), STATEMENT, "the lock").await?;
            becomes_open(self.link).await
        };
        if let Err(error) = opened.await {
            tracing::warn!(%error, "not seen to take writes again");
        }
    }

    /// Since when it has been closed.
    pub(super) fn since(&self) -> Instant {
        self.since
    }
}

/// Opens a server that somebody left closed.
pub(super) async fn open(link: &Link) -> Result<(), Error> {
    clean(link).await?;
    link.run("SELECT pg_reload_conf()", STATEMENT, "a reload").await?;
    becomes_open(link).await
}

async fn clean(link: &Link) -> Result<(), Error> {
    link.run(&format!("ALTER SYSTEM RESET {SETTING}"), STATEMENT, "a setting").await.map(drop)
}

async fn becomes_open(link: &Link) -> Result<(), Error> {
    let give_up = Instant::now() + STATEMENT;
    let sql = format!(
        "SELECT concat_ws(' ', source, sourcefile) FROM pg_settings WHERE name = '{SETTING}' AND setting = 'on'"
    );
    while let Some(from) = link.run(&sql, STATEMENT, "a setting").await? {
        if Instant::now() > give_up {
            return Err(link.refused(&format!("it stays closed: {SETTING} = on comes from {from}: remove it there")));
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Whether the role may do all of it: half of it would be worse than nothing.
async fn may_close(link: &Link) -> Result<(), Error> {
    let ask = async |condition: &str| {
        let answer = link.run(&format!("SELECT {condition}"), STATEMENT, "a privilege").await?;
        Ok::<_, Error>(answer.as_deref() == Some("t"))
    };
    if ask("rolsuper FROM pg_roles WHERE rolname = current_user").await? {
        return Ok(());
    }
    if !ask("current_setting('server_version_num')::int >= 150000").await? {
        return Err(link.refused("before PostgreSQL 15 only a superuser may close it to writes"));
    }
    let mut missing = Vec::new();
    for (condition, what) in [
        (format!("has_parameter_privilege('{SETTING}', 'ALTER SYSTEM')"), format!("ALTER SYSTEM on {SETTING}")),
        ("has_function_privilege('pg_reload_conf()', 'EXECUTE')".into(), "EXECUTE on pg_reload_conf()".into()),
        ("pg_has_role('pg_monitor', 'USAGE')".into(), "pg_monitor".into()),
    ] {
        if !ask(&condition).await? {
            missing.push(what);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(link.refused(&format!("the role lacks {}: `dbopt switchover --grants` prints what to run", missing.join(", "))))
}

/// The session that opens the server. It is left alone on purpose: it ends when it has done so, or with the server.
async fn stand_guard(link: &Link) -> Result<(), Error> {
    let session = link.another_session().await?;
    let failed = |error: tokio_postgres::Error| link.refused(&error.to_string());
    // Nothing may end it early, and it need not notice that nobody listens any more.
    let limits = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout', \
                  'idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout', 'client_connection_check_interval')";
    session.client.simple_query(limits).await.map_err(failed)?;
    let row = session.client.query_one("SELECT pg_backend_pid()", &[]).await.map_err(failed)?;
    let pid: i32 = row.get(0);
    tokio::spawn(async move {
        // All of it: without what drives it the server would be told to stop.
        let session = session;
        let _ = session.client.simple_query(&format!("SELECT pg_advisory_lock({LOCK}); SELECT pg_reload_conf()")).await;
    });
    let waits = format!("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid = {pid}");
    let give_up = Instant::now() + STATEMENT;
    while link.run(&waits, STATEMENT, "its locks").await?.as_deref() != Some("1") {
        if Instant::now() > give_up {
            return Err(link.refused("the session that would open it again does not begin to wait"));
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// The statements that make a role with all that is needed, and no more. The password is set apart, by `\password`.
pub fn switchover_grants(role: &str) -> String {
    let role = quoted(role);
    format!(
        "-- On the leader, as a superuser; replicas receive it. Rights on functions belong to a database.\n\
         \\connect postgres\n\
         CREATE ROLE {role} LOGIN;\n\
         GRANT pg_monitor, pg_checkpoint TO {role};\n\
         GRANT ALTER SYSTEM ON PARAMETER {SETTING} TO {role};\n\
         GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {role};\n\
         GRANT CONNECT ON DATABASE postgres TO {role};\n"
    )
}
