//! What a statement needs: a transaction, none, or a remedy. Decided by its first words. Pure.

use super::words::Words;

/// What a statement is to the runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Runs in the migration's transaction.
    Ordinary,
    /// PostgreSQL refuses it inside a transaction: it must be alone in its migration.
    Alone(Alone),
    /// Begins or ends a transaction by itself.
    Control(String),
    /// No SQL that a server understands: what to write instead.
    Foreign(&'static str),
}

/// A statement that cannot run in a transaction, and how it is taken up again after it was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alone {
    /// `CREATE INDEX CONCURRENTLY`; cut off it leaves an invalid index.
    CreateIndex {
        /// The index's name as it is written, if it has one.
        name: Option<String>,
        /// The table as it is written.
        table: Option<String>,
    },
    /// `DROP INDEX CONCURRENTLY`; done when the index is gone.
    DropIndex {
        /// The name as it is written.
        name: Option<String>,
    },
    /// `REINDEX .. CONCURRENTLY`; cut off it leaves indexes called `.._ccnew`.
    Reindex,
    /// `ALTER TABLE .. DETACH PARTITION .. CONCURRENTLY`; cut off it is finished with `FINALIZE`.
    Detach {
        /// The partitioned table.
        table: String,
        /// The partition.
        partition: String,
    },
    /// `VACUUM`, `ALTER SYSTEM` and the like: running them again does no harm.
    Repeatable(String),
    /// `CREATE DATABASE` and the like: running them again fails if they were done.
    Once(String),
}

impl Alone {
    /// What it is called in messages.
    pub fn name(&self) -> &str {
        match self {
            Alone::CreateIndex { .. } => "CREATE INDEX CONCURRENTLY",
            Alone::DropIndex { .. } => "DROP INDEX CONCURRENTLY",
            Alone::Reindex => "REINDEX CONCURRENTLY",
            Alone::Detach { .. } => "ALTER TABLE .. DETACH PARTITION .. CONCURRENTLY",
            Alone::Repeatable(name) | Alone::Once(name) => name,
        }
    }
}

impl Kind {
    /// Recognises one statement.
    pub fn of(sql: &str) -> Kind {
        let words = Words::of(sql);
        let first: Vec<&str> = words.upper.iter().map(String::as_str).take(8).collect();
        match first.as_slice() {
            ["\\", ..] => Kind::Foreign("a command of psql; write SQL instead"),
            ["PREPARE", "TRANSACTION", ..] => Kind::Control("PREPARE TRANSACTION".to_owned()),
            ["START", "TRANSACTION", ..] => Kind::Control("START TRANSACTION".to_owned()),
            [word @ ("BEGIN" | "COMMIT" | "END" | "ABORT"), ..] => Kind::Control((*word).to_owned()),
            ["ROLLBACK", rest @ ..] if !is_savepoint(rest) => Kind::Control("ROLLBACK".to_owned()),
            ["COPY", ..] if words.follow("FROM", "STDIN") => {
                Kind::Foreign("COPY FROM stdin has no rows to read here; write INSERT statements")
            }
            _ => words.alone(&first).map_or(Kind::Ordinary, Kind::Alone),
        }
    }
}

fn is_savepoint(rest: &[&str]) -> bool {
    matches!(rest, ["TO", ..] | ["WORK" | "TRANSACTION", "TO", ..])
}

impl Words {
    fn alone(&self, first: &[&str]) -> Option<Alone> {
        match first {
            ["CREATE", "INDEX", "CONCURRENTLY", ..] => Some(self.create_index(3)),
            ["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY", ..] => Some(self.create_index(4)),
            ["DROP", "INDEX", "CONCURRENTLY", rest @ ..] => {
                let at = 3 + if rest.starts_with(&["IF", "EXISTS"]) { 2 } else { 0 };
                Some(Alone::DropIndex { name: self.name_at(at).map(|(name, _)| name) })
            }
            ["REINDEX", rest @ ..] => {
                let whole = rest.contains(&"DATABASE") || rest.contains(&"SYSTEM") || rest.contains(&"SCHEMA");
                (self.has("CONCURRENTLY") || whole).then_some(Alone::Reindex)
            }
            ["ALTER", "TABLE", ..] if self.has("DETACH") && self.has("CONCURRENTLY") => self.detach(),
            [word @ "VACUUM", ..] => Some(Alone::Repeatable((*word).to_owned())),
            ["CLUSTER"] | ["CLUSTER", "VERBOSE"] => Some(Alone::Repeatable("CLUSTER".to_owned())),
            ["ALTER", "SYSTEM", ..] => Some(Alone::Repeatable("ALTER SYSTEM".to_owned())),
            [verb @ ("CREATE" | "DROP"), what @ ("DATABASE" | "TABLESPACE"), ..] => {
                Some(Alone::Once(format!("{verb} {what}")))
            }
            ["ALTER", "DATABASE", ..] if self.follow("SET", "TABLESPACE") => {
                Some(Alone::Once("ALTER DATABASE SET TABLESPACE".to_owned()))
            }
            ["CREATE", "SUBSCRIPTION", ..] if !self.has("CREATE_SLOT") && !self.has("CONNECT") => {
                Some(Alone::Once("CREATE SUBSCRIPTION".to_owned()))
            }
            _ => None,
        }
    }

    fn create_index(&self, mut at: usize) -> Alone {
        at = self.skip(at, &["IF", "NOT", "EXISTS"]);
        let named = self.upper.get(at).is_some_and(|word| word != "ON");
        let name = if named { self.name_at(at).map(|(name, _)| name) } else { None };
        let on = self.upper.iter().position(|word| word == "ON").map(|on| on + 1);
        let on = on.map(|on| if self.upper.get(on).is_some_and(|word| word == "ONLY") { on + 1 } else { on });
        let table = on.and_then(|on| self.name_at(on)).map(|(table, _)| table);
        Alone::CreateIndex { name, table }
    }

    fn detach(&self) -> Option<Alone> {
        let mut at = 2;
        while self.upper.get(at).is_some_and(|word| ["IF", "EXISTS", "ONLY"].contains(&word.as_str())) {
            at += 1;
        }
        let (table, _) = self.name_at(at)?;
        let partition = self.upper.iter().position(|word| word == "PARTITION")? + 1;
        let (partition, _) = self.name_at(partition)?;
        (!self.has("FINALIZE")).then_some(Alone::Detach { table, partition })
    }
}
