//! What a node can be told and asked in SQL.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::conf::{identifier, sql_literal};
use super::error::DevError;
use super::node::Node;

/// A frozen server accepts connections and says nothing, and the driver's connect timeout ends with the TCP handshake.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Beyond this a test hangs rather than waits.
const STATEMENT_PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Node {
    /// Runs one or more statements on the cluster's database.
    ///
    /// # Errors
    /// [`DevError::Postgres`] with the server's words; [`DevError::TimedOut`] without an answer in 60 s.
    pub async fn execute(&self, sql: &str) -> Result<(), DevError> {
        self.rows(&self.shared.database, sql).await.map(|_| ())
    }

    /// The first column of the first row as text, whatever its type; `None` for no row and for NULL.
    ///
    /// # Errors
    /// Those of [`execute`](Self::execute).
    pub async fn query_text(&self, sql: &str) -> Result<Option<String>, DevError> {
        self.text(&self.shared.database, sql).await
    }

    /// Changes a setting of this node by `ALTER SYSTEM` and a reload, and waits until the server has reloaded. A setting
    /// that needs a restart takes effect with the next [`restart`](Self::restart).
    ///
    /// # Errors
    /// Those of [`execute`](Self::execute).
    pub async fn set(&self, name: &str, value: &str) -> Result<(), DevError> {
        self.alter_system(&format!("SET {} = {}", identifier(name), sql_literal(value))).await
    }

    /// Takes back what [`set`](Self::set) changed.
    ///
    /// # Errors
    /// Those of [`execute`](Self::execute).
    pub async fn unset(&self, name: &str) -> Result<(), DevError> {
        self.alter_system(&format!("RESET {}", identifier(name))).await
    }

    /// Makes this standby apply each commit that much later than the primary's clock said (`recovery_min_apply_delay`):
    /// replication goes on, reads grow old. Zero ends it.
    ///
    /// # Errors
    /// [`DevError::NotAStandby`], and those of [`execute`](Self::execute).
    pub async fn delay_replay(&self, delay: Duration) -> Result<(), DevError> {
        self.require_standby().await?;
        if delay.is_zero() {
            return self.unset("recovery_min_apply_delay").await;
        }
        self.set("recovery_min_apply_delay", &format!("{}ms", delay.as_millis())).await
    }

    /// Makes this standby stop applying WAL; it goes on receiving it and answering reads. Returns when it has stopped.
    ///
    /// # Errors
    /// [`DevError::NotAStandby`], and those of [`execute`](Self::execute).
    pub async fn pause_replay(&self) -> Result<(), DevError> {
        self.require_standby().await?;
        self.execute("SELECT pg_wal_replay_pause()").await?;
        // Before PostgreSQL 14 a pause takes effect at once and there is no such function to ask.
        let state = if self.shared.binaries.postgres_major >= 14 {
            "SELECT pg_get_wal_replay_pause_state()"
        } else {
            "SELECT 'paused'"
        };
        self.wait_until("paused", CONNECT_PATIENCE, state, |answer| answer == Some("paused")).await
    }

    /// Ends [`pause_replay`](Self::pause_replay).
    ///
    /// # Errors
    /// [`DevError::NotAStandby`], and those of [`execute`](Self::execute).
    pub async fn resume_replay(&self) -> Result<(), DevError> {
        self.require_standby().await?;
        self.execute("SELECT pg_wal_replay_resume()").await
    }

    /// Whether this node is primary now: after a failover it need not be the one that started as such.
    ///
    /// # Errors
    /// Those of [`execute`](Self::execute).
    pub async fn is_primary(&self) -> Result<bool, DevError> {
        Ok(self.text("postgres", "SELECT pg_is_in_recovery()").await?.as_deref() == Some("f"))
    }

    /// Waits until the node answers queries.
    ///
    /// # Errors
    /// [`DevError::Exited`] as soon as its server has ended; [`DevError::TimedOut`] with the last refusal.
    pub async fn wait_ready(&self, patience: Duration) -> Result<(), DevError> {
        // Somebody else's server may have taken our port between our look and our bind: it would answer, too.
        let home =
            format!("SELECT current_setting('data_directory') = {}", sql_literal(&self.data_dir().to_string_lossy()));
        self.wait_until("ready", patience, &home, |answer| answer == Some("t")).await
    }

    /// Waits until this standby streams from its upstream. A node that was just rebuilt or repointed can show this for an
    /// instant before it fails: look at what it replays, too.
    ///
    /// # Errors
    /// [`DevError::NotAStandby`], [`DevError::Exited`], or [`DevError::TimedOut`] with the last state seen.
    pub async fn wait_streaming(&self, patience: Duration) -> Result<(), DevError> {
        let status = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN 'primary' \
                      ELSE coalesce((SELECT status FROM pg_stat_wal_receiver), 'no WAL receiver') END";
        self.require_standby().await?;
        self.wait_until("streaming", patience, status, |answer| answer == Some("streaming")).await
    }

    /// Waits until this standby has applied everything up to `lsn`, as `pg_current_wal_lsn()` on the primary gave it.
    ///
    /// # Errors
    /// [`DevError::NotAStandby`], [`DevError::Exited`], or [`DevError::TimedOut`] with the position reached.
    pub async fn wait_replayed(&self, lsn: &str, patience: Duration) -> Result<(), DevError> {
        self.require_standby().await?;
        let lsn = sql_literal(lsn);
        let reached = format!(
            "SELECT CASE WHEN pg_last_wal_replay_lsn() >= {lsn} THEN 'there' \
             ELSE 'at ' || coalesce(pg_last_wal_replay_lsn()::text, 'no position') END"
        );
        self.wait_until("up to date", patience, &reached, |answer| answer == Some("there")).await
    }

    async fn require_standby(&self) -> Result<(), DevError> {
        if self.is_primary().await? {
            return Err(DevError::NotAStandby { server: self.name().to_owned() });
        }
        Ok(())
    }

    async fn alter_system(&self, what: &str) -> Result<(), DevError> {
        // Two messages: several statements in one are a transaction, which ALTER SYSTEM refuses to be part of. A session
        // knows the time of the last reload from its start, so each look needs a new one.
        let before = self.text("postgres", "SELECT pg_conf_load_time()").await?;
        self.rows("postgres", &format!("ALTER SYSTEM {what}")).await?;
        self.rows("postgres", "SELECT pg_reload_conf()").await?;
        self.wait_until("reloaded", CONNECT_PATIENCE, "SELECT pg_conf_load_time()", |now| now != before.as_deref())
            .await
    }

    /// Asks the same question on new connections until the answer will do.
    async fn wait_until(
        &self,
        wanted: &'static str,
        patience: Duration,
        sql: &str,
        enough: impl Fn(Option<&str>) -> bool,
    ) -> Result<(), DevError> {
        let deadline = Instant::now() + patience;
        let mut last = "no answer".to_owned();
        loop {
            if let Some(exited) = self.server.has_exited() {
                return Err(exited);
            }
            match timeout(deadline - Instant::now(), self.text("postgres", sql)).await {
                Ok(Ok(answer)) if enough(answer.as_deref()) => return Ok(()),
                Ok(Ok(answer)) => last = answer.unwrap_or_else(|| "NULL".to_owned()),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => {}
            }
            if Instant::now() + LOOK_AGAIN >= deadline {
                return Err(self.server.timed_out(wanted, patience, last));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    pub(super) async fn text(&self, database: &str, sql: &str) -> Result<Option<String>, DevError> {
        let rows = self.rows(database, sql).await?;
        let first = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
            _ => None,
        });
        Ok(first.flatten())
    }

    pub(super) async fn rows(&self, database: &str, sql: &str) -> Result<Vec<SimpleQueryMessage>, DevError> {
        let client = self.connect(database).await?;
        match timeout(STATEMENT_PATIENCE, client.simple_query(sql)).await {
            Ok(result) => result.map_err(|error| DevError::postgres(self.name(), error)),
            Err(_) => Err(self.server.timed_out("done with a statement", STATEMENT_PATIENCE, sql.to_owned())),
        }
    }

    async fn connect(&self, database: &str) -> Result<Client, DevError> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user("postgres").dbname(database).application_name("dbopt-dev");
        if let Some(password) = &self.shared.password {
            config.password(password);
        }
        match timeout(CONNECT_PATIENCE, config.connect(NoTls)).await {
            Ok(Ok((client, connection))) => {
                tokio::spawn(connection);
                Ok(client)
            }
            Ok(Err(error)) => Err(DevError::postgres(self.name(), error)),
            Err(_) => {
                Err(self.server.timed_out("taking connections", CONNECT_PATIENCE, "connected, no greeting".to_owned()))
            }
        }
    }
}
