//! Which locks a statement takes, on which tables, and whether it writes them anew.

use std::collections::BTreeMap;
use std::time::Duration;

use dbopt_core::schema::script::Statement;
use tokio_postgres::Client;

use super::error::{Doing, Error};

/// What the statements of a validation did.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    /// Tables that were there before the transaction, with their files.
    files: BTreeMap<u32, u32>,
    held: Vec<(String, String)>,
    pub(super) lines: Vec<Traced>,
}

/// What a statement did to tables that were there before its migration.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced {
    /// The script.
    pub file: String,
    /// The line of the statement.
    pub line: usize,
    /// Its beginning.
    pub summary: String,
    /// The locks it took, as `table: mode`; they are held until the migration ends.
    pub locks: Vec<String>,
    /// The tables it wrote anew, row by row.
    pub rewritten: Vec<String>,
    /// Whether a lock of it keeps readers out.
    pub blocks_reads: bool,
    /// Whether a lock of it keeps writers out.
    pub blocks_writes: bool,
    /// How long it took on the scratch database, whose tables are small.
    pub took: Duration,
}

/// Every table and index that a user made, with its file.
const FILES: &str = "SELECT c.oid, coalesce(pg_relation_filenode(c.oid), 0) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

const LOCKS: &str = "SELECT DISTINCT l.relation::regclass::text, l.mode, l.relation, coalesce(pg_relation_filenode(l.relation), 0) \
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND c.relkind IN ('r', 'm', 'p', 'v') \
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1, 2";

impl Trace {
    /// Begins with what is there now.
    pub(super) async fn begin(&mut self, client: &Client) -> Result<(), Error> {
        let rows = client.query(FILES, &[]).await.doing("look at the tables")?;
        self.files = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        self.held.clear();
        Ok(())
    }

    /// Writes down what the last statement of the open transaction did.
    pub(super) async fn look(
        &mut self,
        client: &Client,
        file: &str,
        statement: &Statement<'_>,
        took: Duration,
    ) -> Result<(), Error> {
        let mut traced = traced(file, statement, took);
        for row in client.query(LOCKS, &[]).await.doing("look at the locks")? {
            let (table, mode, oid, node): (String, String, u32, u32) = (row.get(0), row.get(1), row.get(2), row.get(3));
            let Some(before) = self.files.get_mut(&oid) else { continue };
            if *before != node {
                *before = node;
                traced.rewritten.push(table.clone());
            }
            let mode = mode.trim_end_matches("Lock").to_owned();
            if self.held.contains(&(table.clone(), mode.clone())) {
                continue;
            }
            traced.blocks_reads |= mode == "AccessExclusive";
            traced.blocks_writes |=
                matches!(mode.as_str(), "AccessExclusive" | "Exclusive" | "ShareRowExclusive" | "Share");
            traced.locks.push(format!("{table}: {mode}"));
            self.held.push((table, mode));
        }
        self.lines.push(traced);
        Ok(())
    }

    /// Writes down a statement that runs alone, whose locks nobody can see from outside.
    pub(super) fn alone(&mut self, file: &str, statement: &Statement<'_>, name: &str, took: Duration) {
        let mut traced = traced(file, statement, took);
        traced.locks.push(format!("{name} waits for older transactions, and keeps nobody out"));
        self.lines.push(traced);
    }
}

fn traced(file: &str, statement: &Statement<'_>, took: Duration) -> Traced {
    Traced {
        file: file.to_owned(),
        line: statement.line,
        summary: statement.summary(),
        locks: Vec::new(),
        rewritten: Vec::new(),
        blocks_reads: false,
        blocks_writes: false,
        took,
    }
}
