//! The tables: diesel's list of versions, and the history of dbopt beside it.

use std::time::Duration;

use dbopt_core::schema::history::{Entry, Outcome};
use dbopt_core::schema::migration::{Direction, Migration};
use tokio_postgres::{Client, Row};

use super::error::{Doing, Error};
use super::target::one;
use crate::connect::Session;

/// The tables, where the session's search path puts them.
#[derive(Debug, Clone)]
pub(super) struct Store {
    versions: String,
    history: String,
    /// Who is migrating, besides the database's user.
    who: String,
    server: String,
    major: u32,
}

/// Who runs it is told once per entry; the texts make a later difference visible.
const COLUMNS: &str = "id, version, name, direction, outcome, up_checksum, down_checksum, up_sql, down_sql, run_by, \
    to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC' AS started, took_ms, server, receipt, error";

impl Store {
    pub(super) async fn open(session: &Session) -> Result<Store, Error> {
        let schema = one(&session.client, "SELECT quote_ident(current_schema())").await.doing("find the schema")?;
        let schema = schema.ok_or_else(|| {
            Error::Unknown(
                "the search path names no schema that exists: set it for the user, or create the schema".into(),
            )
        })?;
        let version = one(&session.client, "SHOW server_version").await.doing("ask for the version")?;
        let version = version.as_deref().and_then(|text| text.split(' ').next()).unwrap_or("?").to_owned();
        let number = one(&session.client, "SHOW server_version_num").await.doing("ask for the version")?;
        let timeline = session.report.timeline.unwrap_or(0);
        Ok(Store {
            versions: format!("{schema}.__diesel_schema_migrations"),
            history: format!("{schema}.__dbopt_schema_history"),
            who: who(),
            server: format!("{}, PostgreSQL {version}, timeline {timeline}", session.place),
            major: number.and_then(|text| text.parse::<u32>().ok()).unwrap_or(0) / 10_000,
        })
    }

    /// Makes what is missing. Called under the lock.
    pub(super) async fn prepare(&self, client: &Client) -> Result<(), Error> {
        let Store { versions, history, .. } = self;
        let sql = format!(
            "SET client_min_messages = warning; \
             CREATE TABLE IF NOT EXISTS {versions} (version VARCHAR(50) PRIMARY KEY NOT NULL, \
               run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP); \
             CREATE TABLE IF NOT EXISTS {history} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, version text NOT NULL, \
               name text NOT NULL, direction text NOT NULL, outcome text NOT NULL, up_checksum text NOT NULL, down_checksum text, \
               up_sql text NOT NULL, down_sql text, run_by text NOT NULL, started_at timestamptz NOT NULL DEFAULT now(), \
               took_ms bigint NOT NULL DEFAULT 0, server text NOT NULL, receipt text, error text); \
             RESET client_min_messages"
        );
        client.batch_execute(&sql).await.doing("make the tables of the history")
    }

    /// The versions that are applied; none where there is no table yet.
    pub(super) async fn applied(&self, client: &Client) -> Result<Vec<String>, Error> {
        if !self.exists(client, &self.versions).await? {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT version FROM {} ORDER BY version", self.versions);
        let rows = client.query(&sql, &[]).await.doing("read the applied versions")?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The history, oldest first; empty where there is no table yet.
    pub(super) async fn entries(&self, client: &Client) -> Result<Vec<Entry>, Error> {
        if !self.exists(client, &self.history).await? {
            return Ok(Vec::new());
        }
        let rows = client.query(&format!("SELECT {COLUMNS} FROM {} ORDER BY id", self.history), &[]).await;
        Ok(rows.doing("read the history")?.iter().filter_map(entry).collect())
    }

    async fn exists(&self, client: &Client, table: &str) -> Result<bool, Error> {
        let row = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await;
        Ok(row.doing("look for the tables of the history")?.get(0))
    }

    /// Adds or removes a version in diesel's table.
    pub(super) async fn set_version(&self, client: &Client, version: &str, direction: Direction) -> Result<(), Error> {
        let sql = match direction {
            Direction::Up => format!("INSERT INTO {} (version) VALUES ($1)", self.versions),
            Direction::Down => format!("DELETE FROM {} WHERE version = $1", self.versions),
        };
        client.execute(&sql, &[&version]).await.doing("write the version").map(drop)
    }

    /// Writes an entry; its id.
    pub(super) async fn note(&self, client: &Client, migration: &Migration, note: Note<'_>) -> Result<i64, Error> {
        let sql = format!(
            "INSERT INTO {} (version, name, direction, outcome, up_checksum, down_checksum, up_sql, down_sql, run_by, started_at, took_ms, \
             server, receipt, error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, session_user || ' (' || $9::text || ')', \
             clock_timestamp() - $10::bigint * interval '1 millisecond', $10::bigint, $11, $12, $13) RETURNING id",
            self.history
        );
        let took = i64::try_from(note.took.as_millis()).unwrap_or(i64::MAX);
        let (up, down) = (Migration::checksum(&migration.up), migration.down.as_deref().map(Migration::checksum));
        let row = client
            .query_one(
                &sql,
                &[
                    &migration.version,
                    &migration.name,
                    &note.direction.name(),
                    &note.outcome.name(),
                    &up,
                    &down,
                    &migration.up,
                    &migration.down,
                    &self.who,
                    &took,
                    &self.server,
                    &note.receipt,
                    &note.error,
                ],
            )
            .await
            .doing("write the history")?;
        Ok(row.get(0))
    }

    /// Ends an entry that was begun.
    pub(super) async fn close(
        &self,
        client: &Client,
        id: i64,
        outcome: Outcome,
        took: Duration,
        error: Option<&str>,
    ) -> Result<(), Error> {
        let sql = format!("UPDATE {} SET outcome = $2, took_ms = $3, error = $4 WHERE id = $1", self.history);
        let took = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        client.execute(&sql, &[&id, &outcome.name(), &took, &error]).await.doing("write the history").map(drop)
    }

    /// Address, version and timeline.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// The server's major version.
    pub(super) fn major(&self) -> u32 {
        self.major
    }

    /// Has a server that can do so (since 14) stop a statement whose client is gone, so that the lock comes free.
    pub(super) fn notices_a_lost_client(&self) -> &'static str {
        if self.major >= 14 { "; SET LOCAL client_connection_check_interval = 500" } else { "" }
    }
}

/// What an entry says besides the migration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note<'a> {
    pub(super) direction: Direction,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
    pub(super) receipt: Option<&'a str>,
    pub(super) error: Option<&'a str>,
}

fn entry(row: &Row) -> Option<Entry> {
    let took: i64 = row.get("took_ms");
    Some(Entry {
        id: row.get("id"),
        version: row.get("version"),
        name: row.get("name"),
        direction: row.get("direction"),
        outcome: Outcome::of(row.get("outcome"))?,
        up_checksum: row.get("up_checksum"),
        down_checksum: row.get("down_checksum"),
        up: row.get("up_sql"),
        down: row.get("down_sql"),
        by: row.get("run_by"),
        at: row.get("started"),
        took: Duration::from_millis(u64::try_from(took).unwrap_or(0)),
        server: row.get("server"),
        receipt: row.get("receipt"),
        error: row.get("error"),
    })
}

fn who() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "someone".to_owned());
    let read = |file: &str| std::fs::read_to_string(file).ok().map(|text| text.trim().to_owned());
    let host =
        variable("HOSTNAME").or_else(|| read("/proc/sys/kernel/hostname")).unwrap_or_else(|| "somewhere".to_owned());
    format!("{user}@{host}")
}
