//! A derived way back as a script for people: every loss and everything that is not undone stands beside its statement.

use crate::schema::loss::losses;
use crate::schema::migration::{Direction, Migration, Mode};
use crate::schema::script::{Alone, Script, Words};

/// The statements of a way back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Derived {
    /// The statements, in order.
    pub steps: Vec<Step>,
    /// What still differs after them: to be written by hand.
    pub remaining: Vec<String>,
}

/// A statement, and what is to be known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The statement.
    pub sql: String,
    /// A note for whoever runs it.
    pub note: Option<String>,
}

impl Derived {
    /// Whether it brings everything back but data.
    pub fn is_complete(&self) -> bool {
        self.remaining.is_empty()
    }

    /// The script `down.sql` of `migration`.
    pub fn render(&self, migration: &Migration) -> String {
        let mut text =
            "-- Derived by `dbopt migrate generate-down` from the catalog before and after up.sql.\n".to_owned();
        for what in data_changes(migration) {
            text.push_str(&format!("-- dbopt: not undone: {what}\n"));
        }
        for what in &self.remaining {
            text.push_str(&format!("-- dbopt: WRITE BY HAND: {what}\n"));
        }
        if self.steps.is_empty() {
            text.push_str("SELECT 1;\n");
        }
        let alone = matches!(migration.script(Direction::Up), Ok((_, Mode::Alone(_)))) && self.steps.len() == 1;
        for Step { sql, note } in &self.steps {
            let sql = if alone { concurrently(sql) } else { sql.clone() };
            if let Some(note) = note {
                text.push_str(&format!("-- dbopt: {note}\n"));
            }
            for loss in Script::parse(&sql).iter().flat_map(losses) {
                text.push_str(&format!("-- dbopt: loses {}\n", loss.what));
            }
            text.push_str(sql.trim_end());
            text.push_str(";\n");
        }
        text
    }
}

/// An index that was built beside its users is dropped, or built again, beside them.
fn concurrently(sql: &str) -> String {
    for (plain, beside) in [
        ("DROP INDEX ", "DROP INDEX CONCURRENTLY "),
        ("CREATE UNIQUE INDEX ", "CREATE UNIQUE INDEX CONCURRENTLY "),
        ("CREATE INDEX ", "CREATE INDEX CONCURRENTLY "),
    ] {
        if let Some(rest) = sql.strip_prefix(plain) {
            return format!("{beside}{rest}");
        }
    }
    sql.to_owned()
}

/// Statements whose effect no catalog shows.
fn data_changes(migration: &Migration) -> Vec<String> {
    let Ok((script, mode)) = migration.script(Direction::Up) else { return Vec::new() };
    if let Mode::Alone(Alone::Repeatable(_) | Alone::Once(_)) = mode {
        return vec!["what up.sql does shows in no catalog of this database".to_owned()];
    }
    let found = script.statements().filter_map(|statement| {
        let words = Words::of(statement.sql);
        let first = words.upper.first().map(String::as_str)?;
        let changes = matches!(
            first,
            "INSERT" | "UPDATE" | "DELETE" | "TRUNCATE" | "COPY" | "MERGE" | "DO" | "CALL" | "SELECT" | "WITH"
        );
        changes.then(|| format!("line {}: {}", statement.line, statement.summary()))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_tells_what_it_loses_and_what_it_leaves() {
        let migration = Migration {
            version: "1".into(),
            name: "1_a".into(),
            up: "CREATE TABLE a (i int);\nINSERT INTO a VALUES (1);".into(),
            down: None,
            in_transaction: true,
        };
        let step = Step { sql: "DROP TABLE a".into(), note: Some("careful".into()) };
        let text = Derived { steps: vec![step], remaining: vec!["a cast".into()] }.render(&migration);
        for part in [
            "not undone: line 2: INSERT",
            "WRITE BY HAND: a cast",
            "-- dbopt: careful\n-- dbopt: loses all rows of a\nDROP TABLE a;",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let alone = Migration { up: "CREATE INDEX CONCURRENTLY i ON a (i)".into(), in_transaction: false, ..migration };
        let step = Step { sql: "DROP INDEX i".into(), note: None };
        let text = Derived { steps: vec![step], remaining: Vec::new() }.render(&alone);
        assert!(text.contains("DROP INDEX CONCURRENTLY i;"), "{text}");
    }
}
