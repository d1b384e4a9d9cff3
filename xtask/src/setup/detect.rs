//! Finds the programs where `dbopt_diesel::dev` looks for them, in the same order. That module cannot be used from here:
//! it would make a newcomer compile a database driver before the first line of output.

use anyhow::{Result, bail};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a local cluster runs; one folder has to hold them all.
const POSTGRES_PROGRAMS: [&str; 5] = ["postgres", "initdb", "pg_ctl", "pg_basebackup", "pg_rewind"];
const REDIS_PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
/// The oldest version that the local cluster runs on.
const OLDEST_POSTGRES: u32 = 13;

/// The machine as detection sees it.
pub(super) struct Place {
    /// The root of the file system; another folder in tests.
    pub(super) root: PathBuf,
    pub(super) pg_bin: Option<OsString>,
    pub(super) redis_server: Option<OsString>,
    pub(super) path: OsString,
}

impl Place {
    pub(super) fn this_machine() -> Place {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Place {
            root: PathBuf::from("/"),
            pg_bin: set("DBOPT_PG_BIN"),
            redis_server: set("DBOPT_REDIS_SERVER"),
            path: set("PATH").unwrap_or_default(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) postgres: Option<Program>,
    pub(super) redis: Option<Program>,
}

#[derive(Debug)]
pub(super) struct Program {
    name: String,
    pub(super) path: PathBuf,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.path.display())
    }
}

impl Found {
    /// What has to be installed, by the names the installation script knows.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let postgres = self.postgres.is_none().then_some("postgresql");
        let redis = self.redis.is_none().then_some("redis");
        postgres.into_iter().chain(redis).collect()
    }
}

/// # Errors
/// When a variable names a place that does not hold the programs: what the user said is never passed over.
pub(super) fn detect(place: &Place) -> Result<Found> {
    Ok(Found { postgres: postgres(place)?, redis: redis(place)? })
}

fn postgres(place: &Place) -> Result<Option<Program>> {
    if let Some(folder) = &place.pg_bin {
        let folder = PathBuf::from(folder);
        if let Some(absent) = POSTGRES_PROGRAMS.iter().find(|program| !folder.join(program).is_file()) {
            bail!(
                "DBOPT_PG_BIN is {}, which has no `{absent}`; set it to the folder of PostgreSQL's programs, or unset it",
                folder.display()
            );
        }
        return match version(&folder) {
            Some(version) if version < OLDEST_POSTGRES => bail!(
                "DBOPT_PG_BIN is {}, which holds PostgreSQL {version}; {OLDEST_POSTGRES} or newer is needed",
                folder.display()
            ),
            version => Ok(Some(named("PostgreSQL", version, folder))),
        };
    }
    let complete = |folder: &PathBuf| POSTGRES_PROGRAMS.iter().all(|program| folder.join(program).is_file());
    for folder in postgres_folders(place).into_iter().filter(complete) {
        let version = version(&folder);
        if version.is_some_and(|version| version >= OLDEST_POSTGRES) {
            return Ok(Some(named("PostgreSQL", version, folder)));
        }
    }
    Ok(None)
}

fn named(name: &str, version: Option<u32>, path: PathBuf) -> Program {
    let name = version.map_or_else(|| name.to_owned(), |version| format!("{name} {version}"));
    Program { name, path }
}

/// Folders to look into, best first.
fn postgres_folders(place: &Place) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for folder in std::env::split_paths(&place.path) {
        // Often a lone link into the folder with the rest.
        let target = folder.join("postgres").canonicalize().ok();
        folders.push(folder);
        folders.extend(target.and_then(|target| target.parent().map(Path::to_path_buf)));
    }
    folders.extend(versioned(&place.root.join("usr/lib/postgresql"), "", "bin"));
    folders.extend(versioned(&place.root.join("usr"), "pgsql-", "bin"));
    folders.extend(told_by_pg_config(place));
    for homebrew in ["opt/homebrew/opt", "usr/local/opt", "home/linuxbrew/.linuxbrew/opt"] {
        folders.extend(versioned(&place.root.join(homebrew), "postgresql@", "bin"));
    }
    folders.extend(versioned(&place.root.join("Applications/Postgres.app/Contents/Versions"), "", "bin"));
    folders
}

/// `parent/<prefix><version>/<below>` for every version, newest first.
fn versioned(parent: &Path, prefix: &str, below: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?.split('.').next()?.parse().ok()?;
            Some((version, entry.path().join(below)))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, folder)| folder).collect()
}

fn told_by_pg_config(place: &Place) -> Option<PathBuf> {
    let pg_config = std::env::split_paths(&place.path).map(|folder| folder.join("pg_config"));
    let output = Command::new(pg_config.into_iter().find(|file| file.is_file())?).arg("--bindir").output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(folder.trim()))
}

fn version(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    major(&String::from_utf8(output.stdout).ok()?)
}

/// 15 of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` and of `postgres (PostgreSQL) 15beta1`.
fn major(text: &str) -> Option<u32> {
    let number = text.split_whitespace().find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()))?;
    number.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

fn redis(place: &Place) -> Result<Option<Program>> {
    if let Some(file) = &place.redis_server {
        let file = PathBuf::from(file);
        if !file.is_file() {
            bail!("DBOPT_REDIS_SERVER is {}, which is not a file; set it to redis-server, or unset it", file.display());
        }
        return Ok(Some(named("Redis", None, file)));
    }
    let on_path = std::env::split_paths(&place.path);
    let homebrew = ["opt/homebrew/bin", "usr/local/bin"].map(|folder| place.root.join(folder));
    let folders: Vec<PathBuf> = on_path.chain(homebrew).collect();
    let file = REDIS_PROGRAMS
        .iter()
        .find_map(|program| folders.iter().map(|folder| folder.join(program)).find(|file| file.is_file()));
    Ok(file.map(|file| named("Redis", None, file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A file system of its own, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let root = std::env::temp_dir().join(format!("xtask-detect-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&root).unwrap();
            Scratch(root)
        }

        fn program(&self, path: &str, says: &str) -> PathBuf {
            let file = self.0.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
            file
        }

        fn postgres(&self, folder: &str, version: &str) -> PathBuf {
            for program in POSTGRES_PROGRAMS {
                self.program(&format!("{folder}/{program}"), &format!("postgres (PostgreSQL) {version} (Debian)"));
            }
            self.0.join(folder)
        }

        fn place(&self, path: &str) -> Place {
            let path = if path.is_empty() { OsString::new() } else { self.0.join(path).into() };
            Place { root: self.0.clone(), pg_bin: None, redis_server: None, path }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn postgres_path(place: &Place) -> Option<PathBuf> {
        postgres(place).unwrap().map(|program| program.path)
    }

    #[test]
    fn an_empty_machine_misses_both() {
        let scratch = Scratch::new("empty");
        assert_eq!(detect(&scratch.place("")).unwrap().missing(), ["postgresql", "redis"]);
    }

    #[test]
    fn debians_newest_version_wins_by_number() {
        let scratch = Scratch::new("debian");
        scratch.postgres("usr/lib/postgresql/9.6/bin", "9.6.24");
        scratch.postgres("usr/lib/postgresql/15/bin", "15.18");
        let newest = scratch.postgres("usr/lib/postgresql/17/bin", "17.2");
        assert_eq!(postgres_path(&scratch.place("")), Some(newest));
    }

    #[test]
    fn a_folder_without_all_programs_is_passed_over() {
        let scratch = Scratch::new("partial");
        let complete = scratch.postgres("usr/lib/postgresql/15/bin", "15.18");
        scratch.program("usr/lib/postgresql/17/bin/postgres", "postgres (PostgreSQL) 17.2");
        assert_eq!(postgres_path(&scratch.place("")), Some(complete));
    }

    #[test]
    fn a_link_on_path_leads_to_the_folder_with_the_rest() {
        let scratch = Scratch::new("link");
        let folder = scratch.postgres("opt/pg/bin", "16.1");
        std::fs::create_dir_all(scratch.0.join("links")).unwrap();
        symlink(folder.join("postgres"), scratch.0.join("links/postgres")).unwrap();
        assert_eq!(postgres_path(&scratch.place("links")), Some(folder.canonicalize().unwrap()));
    }

    #[test]
    fn a_version_too_old_counts_as_missing() {
        let scratch = Scratch::new("old");
        scratch.postgres("usr/lib/postgresql/11/bin", "11.22");
        assert_eq!(postgres_path(&scratch.place("")), None);
    }

    #[test]
    fn what_a_variable_names_is_used_or_refused() {
        let scratch = Scratch::new("variable");
        scratch.postgres("usr/lib/postgresql/15/bin", "15.18");
        let mut place = scratch.place("");
        place.pg_bin = Some(scratch.0.join("nowhere").into());
        assert!(postgres(&place).unwrap_err().to_string().contains("has no `postgres`"));
        let own = scratch.postgres("own", "16.1");
        place.pg_bin = Some(own.clone().into());
        assert_eq!(postgres_path(&place), Some(own));
        place.redis_server = Some(scratch.0.join("nowhere").into());
        assert!(redis(&place).unwrap_err().to_string().contains("not a file"));
    }

    #[test]
    fn valkey_serves_as_redis() {
        let scratch = Scratch::new("valkey");
        let valkey = scratch.program("bin/valkey-server", "");
        assert_eq!(redis(&scratch.place("bin")).unwrap().unwrap().path, valkey);
        let redis_server = scratch.program("bin/redis-server", "");
        assert_eq!(redis(&scratch.place("bin")).unwrap().unwrap().path, redis_server);
    }

    #[test]
    fn the_major_version_is_read() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major("command not found"), None);
    }
}
