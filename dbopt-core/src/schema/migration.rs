//! A migration as it stands in its folder, and what is wrong with it. Pure.

use std::fmt;

use ring::digest::{SHA256, digest};

use super::script::{Alone, Kind, Script};

/// A migration: how it goes forward and how it is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// What it is ordered by: the part of the folder's name before the first `_`, without `-`.
    pub version: String,
    /// The folder's name.
    pub name: String,
    /// The script forward.
    pub up: String,
    /// The script back, if there is one.
    pub down: Option<String>,
    /// What `run_in_transaction` in its `metadata.toml` says; true without one.
    pub in_transaction: bool,
}

/// One of the two scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `up.sql`.
    Up,
    /// `down.sql`.
    Down,
}

impl Direction {
    /// The script's file name.
    pub const fn file(self) -> &'static str {
        match self {
            Direction::Up => "up.sql",
            Direction::Down => "down.sql",
        }
    }

    /// `up` or `down`.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::Up => "up",
            Direction::Down => "down",
        }
    }
}

/// What is wrong with a migration, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file inside the folder of migrations.
    pub file: String,
    /// The line, where there is one.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        write!(f, ": {}; {}", self.what, self.remedy)
    }
}

/// How a script is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// All statements in one transaction.
    Transaction,
    /// Its only statement by itself.
    Alone(Alone),
}

impl Migration {
    /// What names the content of a script, whatever its line ends are.
    pub fn checksum(sql: &str) -> String {
        let sum = digest(&SHA256, sql.replace("\r\n", "\n").as_bytes());
        sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The script of a direction.
    pub fn sql(&self, direction: Direction) -> Option<&str> {
        match direction {
            Direction::Up => Some(&self.up),
            Direction::Down => self.down.as_deref(),
        }
    }

    /// Where a script is, for messages.
    pub fn file(&self, direction: Direction) -> String {
        format!("{}/{}", self.name, direction.file())
    }

    /// Cuts a script and says how it is run.
    ///
    /// # Errors
    /// For a script that is missing, empty, cannot be cut, ends the transaction itself, or holds what cannot run in one beside other
    /// statements.
    pub fn script(&self, direction: Direction) -> Result<(Script, Mode), Problem> {
        let problem = |line, what: String, remedy: &str| Problem {
            file: self.file(direction),
            line,
            what,
            remedy: remedy.to_owned(),
        };
        let Some(sql) = self.sql(direction) else {
            let remedy = format!("write it, or let `dbopt migrate generate-down {}` derive it", self.version);
            return Err(problem(None, "this migration has no way back".to_owned(), &remedy));
        };
        let script = Script::parse(sql).map_err(|error| {
            let (line, what) = error.split_once(": ").unwrap_or(("", &error));
            let (what, remedy) = what.split_once("; ").unwrap_or((what, "correct it"));
            problem(line.strip_prefix("line ").and_then(|n| n.parse().ok()), what.to_owned(), remedy)
        })?;
        if script.is_empty() {
            let remedy = "write its statements; if there is nothing to do, write SELECT 1";
            return Err(problem(None, "there is no statement in it".to_owned(), remedy));
        }
        let mut alone = None;
        for statement in script.statements() {
            let at = Some(statement.line);
            match statement.kind {
                Kind::Ordinary => {}
                Kind::Alone(what) => alone = Some((statement.line, what.clone())),
                Kind::Control(word) => {
                    let remedy = "remove it: each migration runs in a transaction of its own, which must stay open until the \
                                  history is written";
                    return Err(problem(at, format!("{word} begins or ends a transaction"), remedy));
                }
                Kind::Foreign(why) => {
                    let (what, remedy) = why.split_once("; ").unwrap_or((why, "write SQL"));
                    return Err(problem(at, what.to_owned(), remedy));
                }
            }
        }
        let Some((line, what)) = alone else { return Ok((script, Mode::Transaction)) };
        let name = what.name().to_owned();
        if script.statements().len() > 1 {
            let remedy = "give it a migration of its own, so that the others stay in their transaction";
            return Err(problem(
                Some(line),
                format!("{name} cannot run in a transaction, and is not alone here"),
                remedy,
            ));
        }
        if self.in_transaction {
            let remedy = "declare it: write `run_in_transaction = false` into metadata.toml beside it";
            return Err(problem(Some(line), format!("{name} cannot run in a transaction"), remedy));
        }
        Ok((script, Mode::Alone(what)))
    }
}

/// Orders migrations by version, as diesel does.
///
/// # Errors
/// For every script that cannot be run, and every version that is there twice. A missing `down.sql` is no error here.
pub fn ordered(mut list: Vec<Migration>) -> Result<Vec<Migration>, Vec<Problem>> {
    list.sort_by(|a, b| a.version.cmp(&b.version).then_with(|| a.name.cmp(&b.name)));
    let mut problems = Vec::new();
    for pair in list.windows(2).filter(|pair| pair[0].version == pair[1].version) {
        problems.push(Problem {
            file: pair[1].name.clone(),
            line: None,
            what: format!("its version {} is also that of {}", pair[0].version, pair[0].name),
            remedy: "rename the one that was applied nowhere yet".to_owned(),
        });
    }
    for migration in &list {
        if migration.version.is_empty() || migration.version.len() > 50 {
            problems.push(Problem {
                file: migration.name.clone(),
                line: None,
                what: "its name begins with no version of 1 to 50 characters".to_owned(),
                remedy: "call the folder like 2026-11-22-101500_what_it_does".to_owned(),
            });
        }
        problems.extend(migration.script(Direction::Up).err());
        if migration.down.is_some() {
            problems.extend(migration.script(Direction::Down).err());
        }
    }
    if problems.is_empty() { Ok(list) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(up: &str, in_transaction: bool) -> Migration {
        Migration { version: "1".into(), name: "1_a".into(), up: up.into(), down: None, in_transaction }
    }

    fn refused(up: &str, in_transaction: bool) -> String {
        migration(up, in_transaction).script(Direction::Up).unwrap_err().to_string()
    }

    #[test]
    fn a_problem_says_file_line_and_remedy() {
        let commit = refused("create table a(i int);\n\ncommit;", true);
        assert!(commit.starts_with("1_a/up.sql line 3: COMMIT") && commit.contains("remove it"), "{commit}");
        assert!(refused("-- nothing\n", true).contains("no statement"));
        assert!(refused("select 'a", true).contains("line 1: a string is opened here"));
        assert!(refused("create index concurrently i on t(a)", true).contains("run_in_transaction = false"));
        let beside = refused("select 1;\ncreate index concurrently i on t(a)", false);
        assert!(beside.contains("line 2") && beside.contains("a migration of its own"), "{beside}");
        let down = migration("select 1", true).script(Direction::Down).unwrap_err();
        assert!(down.to_string().contains("generate-down 1"), "{down}");
    }

    #[test]
    fn what_needs_no_exception_runs_in_a_transaction_whatever_is_declared() {
        assert_eq!(migration("select 1; select 2", false).script(Direction::Up).unwrap().1, Mode::Transaction);
    }

    #[test]
    fn one_version_twice_is_refused() {
        let other = Migration { name: "1_b".into(), ..migration("select 1", true) };
        let problems = ordered(vec![other, migration("select 1", true)]).unwrap_err();
        assert!(problems[0].to_string().contains("1_a"), "{}", problems[0]);
    }

    #[test]
    fn line_ends_do_not_change_a_checksum() {
        assert_eq!(Migration::checksum("a\r\nb"), Migration::checksum("a\nb"));
        assert_ne!(Migration::checksum("a"), Migration::checksum("b"));
    }
}
