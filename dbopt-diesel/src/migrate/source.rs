//! Migrations from a folder, or from what `embed_migrations!` has put into the program.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use dbopt_core::schema::migration::{Direction, Migration, Problem, ordered};
use diesel::migration::{Migration as DieselMigration, MigrationSource};
use diesel::pg::Pg;

use super::error::Error;
use super::recorder::Recorder;

/// The migrations of an application, checked and in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrations {
    list: Vec<Migration>,
}

impl Migrations {
    /// Reads a folder as diesel's own command does: each folder in it with an `up.sql` is a migration.
    ///
    /// # Errors
    /// For a folder that cannot be read, and for everything in it that cannot be run: file, line and remedy of each.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Migrations, Error> {
        let folder = folder.as_ref();
        let unreadable = |error| Error::Folder { folder: folder.to_owned(), error };
        let (mut list, mut problems) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !entry.path().is_dir() {
                continue;
            }
            match read(&entry.path(), &name) {
                Ok(migration) => list.push(migration),
                Err(found) => problems.extend(found),
            }
        }
        match ordered(list) {
            Ok(list) if problems.is_empty() => Ok(Migrations { list }),
            Ok(_) => Err(Error::Source(problems)),
            Err(more) => {
                problems.extend(more);
                problems.sort_by(|a, b| a.file.cmp(&b.file));
                Err(Error::Source(problems))
            }
        }
    }

    /// Takes what `embed_migrations!` made, or any other source whose migrations are SQL.
    ///
    /// # Errors
    /// For what cannot be run, and for migrations that are written in Rust.
    pub fn from_source(source: &impl MigrationSource<Pg>) -> Result<Migrations, Error> {
        let all = source.migrations().map_err(|error| Error::Source(vec![source_problem("", &error.to_string())]))?;
        let (mut list, mut problems) = (Vec::new(), Vec::new());
        for migration in all {
            match recorded(migration.as_ref()) {
                Ok(migration) => list.push(migration),
                Err(problem) => problems.push(problem),
            }
        }
        match ordered(list) {
            Ok(list) if problems.is_empty() => Ok(Migrations { list }),
            Ok(_) => Err(Error::Source(problems)),
            Err(more) => Err(Error::Source(problems.into_iter().chain(more).collect())),
        }
    }

    /// The migrations, by version.
    pub fn list(&self) -> &[Migration] {
        &self.list
    }

    /// The migration of a version; a name, and the beginning of one that no other has, will do.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&self, version: &str) -> Result<&Migration, Error> {
        let plain = version.replace('-', "");
        let exact = self.list.iter().find(|m| m.version == plain || m.name == version);
        let mut close = self.list.iter().filter(|m| m.version.starts_with(&plain) || m.name.contains(version));
        match (exact, close.next(), close.next()) {
            (Some(exact), ..) | (None, Some(exact), None) => Ok(exact),
            (None, None, _) => {
                Err(Error::Unknown(format!("no migration is called {version}; see `dbopt migrate status`")))
            }
            (None, Some(one), Some(other)) => {
                Err(Error::Unknown(format!("{version} may be {} or {}: write more of it", one.name, other.name)))
            }
        }
    }
}

fn source_problem(name: &str, what: &str) -> Problem {
    Problem { file: name.to_owned(), line: None, what: what.to_owned(), remedy: "correct the source".to_owned() }
}

fn read(path: &Path, name: &str) -> Result<Migration, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut text = |file: &str| {
        let problem = |line, what: String, remedy: &str| Problem {
            file: format!("{name}/{file}"),
            line,
            what,
            remedy: remedy.to_owned(),
        };
        match fs::read(path.join(file)) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Some(text),
                Err(error) => {
                    let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                    let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
                    let remedy = "save it as UTF-8: `iconv -f LATIN1 -t UTF-8` may help";
                    problems.push(problem(Some(line), "it is not UTF-8".to_owned(), remedy));
                    None
                }
            },
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                problems.push(problem(None, error.to_string(), "make it readable"));
                None
            }
        }
    };
    let (up, down, metadata) = (text("up.sql"), text("down.sql"), text("metadata.toml"));
    let metadata = metadata.map(|text| in_transaction(&text)).transpose().unwrap_or_else(|what| {
        let file = format!("{name}/metadata.toml");
        problems.push(Problem {
            file,
            line: None,
            what,
            remedy: "write `run_in_transaction = false` or true".to_owned(),
        });
        None
    });
    if up.is_none() && problems.is_empty() {
        let what = "there is no up.sql in this folder".to_owned();
        problems.push(Problem {
            file: name.to_owned(),
            line: None,
            what,
            remedy: "write it, or remove the folder".to_owned(),
        });
    }
    match up {
        Some(up) if problems.is_empty() => Ok(Migration {
            version: version_of(name),
            name: name.to_owned(),
            up,
            down,
            in_transaction: metadata.unwrap_or(true),
        }),
        _ => Err(problems),
    }
}

/// What `metadata.toml` says of transactions; as diesel reads it, one that says nothing means none.
fn in_transaction(text: &str) -> Result<bool, String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let settings = lines.filter_map(|line| line.split_once('=').map(|(key, value)| (key.trim(), value.trim())));
    let mut found = false;
    for (_, value) in settings.filter(|(key, _)| *key == "run_in_transaction") {
        found = value.parse().map_err(|_| format!("run_in_transaction = {value} is neither true nor false"))?;
    }
    Ok(found)
}

/// As diesel has it: what stands before the first `_`, without `-`.
pub(super) fn version_of(name: &str) -> String {
    name.split('_').next().unwrap_or_default().replace('-', "")
}

fn recorded(migration: &dyn DieselMigration<Pg>) -> Result<Migration, Problem> {
    let name = migration.name().to_string();
    let mut up = Recorder::default();
    let run = migration.run(&mut up);
    if up.asked_more || run.is_err() {
        let what = run.err().map_or_else(|| "it is no SQL".to_owned(), |error| error.to_string());
        let remedy = "dbopt runs migrations that are SQL; keep those in Rust with diesel's own harness".to_owned();
        return Err(Problem { file: name, line: None, what, remedy });
    }
    let mut down = Recorder::default();
    // Without a down.sql diesel refuses; whoever wants to go back is told.
    let back = migration.revert(&mut down).is_ok() && !down.asked_more;
    Ok(Migration {
        version: migration.name().version().to_string(),
        name,
        up: up.sql,
        down: back.then_some(down.sql),
        in_transaction: migration.metadata().run_in_transaction(),
    })
}

/// Writes the script of a direction into the folder of a migration.
pub(super) fn write(folder: &Path, migration: &Migration, direction: Direction, sql: &str) -> Result<(), Error> {
    let file = folder.join(migration.file(direction));
    fs::write(&file, sql).map_err(|error| Error::Folder { folder: file, error })
}
