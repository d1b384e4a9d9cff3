//! Finds the programs a cluster is made of.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::DevError;

/// Folder that holds `postgres` and `initdb`; wins over every search.
pub const PG_BIN: &str = "DBOPT_PG_BIN";
/// The `redis-server` or `valkey-server` file; wins over every search.
pub const REDIS_SERVER: &str = "DBOPT_REDIS_SERVER";

/// The oldest major version that knows all settings we use (wal_keep_size, DROP DATABASE .. WITH (FORCE)).
const OLDEST_POSTGRES: u32 = 13;

/// Where packages put PostgreSQL without adding it to PATH: a folder whose subfolders (with the wanted prefix in their
/// name) hold one version each, and where in such a subfolder the programs are.
const VERSIONED: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

const REDIS_NAMES: [&str; 2] = ["redis-server", "valkey-server"];
const REDIS_FOLDERS: [&str; 5] =
    ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/home/linuxbrew/.linuxbrew/bin", "/usr/local/sbin"];

/// The programs of a cluster, found and asked for their versions.
///
/// The order of the search: the variables [`PG_BIN`] and [`REDIS_SERVER`], `PATH`, the folders of Debian and Red Hat
/// packages (newest version first), `pg_config --bindir`, Homebrew and Postgres.app.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Binaries {
    /// The folder of `postgres`, `initdb`, `pg_basebackup`, `pg_rewind` and so on.
    pub postgres_dir: PathBuf,
    /// PostgreSQL's major version.
    pub postgres_major: u32,
    /// `redis-server` or `valkey-server`, when there is one.
    pub redis_server: Option<PathBuf>,
    /// Its major version.
    pub redis_major: u32,
}

impl Binaries {
    /// Searches this machine.
    ///
    /// # Errors
    /// [`DevError::NotInstalled`] without PostgreSQL 13 or newer. A missing Redis is no error here, only when one is
    /// asked for.
    pub fn find() -> Result<Self, DevError> {
        let search = Search::from_environment();
        let postgres_dir = search.postgres()?;
        let postgres_major = version(&postgres_dir.join("postgres"), "(PostgreSQL) ").unwrap_or(0);
        if postgres_major < OLDEST_POSTGRES {
            return Err(DevError::NotInstalled {
                what: "PostgreSQL 13 or newer",
                looked_in: format!("{}: version {postgres_major}", postgres_dir.display()),
                hint: hint("postgresql", PG_BIN),
            });
        }
        let redis_server = search.redis()?;
        let redis_major = redis_server.as_deref().and_then(|path| version(path, "v=")).unwrap_or(0);
        Ok(Self { postgres_dir, postgres_major, redis_server, redis_major })
    }

    /// The path of one of PostgreSQL's programs, such as `pg_rewind`.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.postgres_dir.join(name)
    }

    pub(super) fn redis(&self) -> Result<&Path, DevError> {
        self.redis_server.as_deref().ok_or_else(|| DevError::NotInstalled {
            what: "redis-server or valkey-server",
            looked_in: format!("${REDIS_SERVER}, PATH, {}", REDIS_FOLDERS.join(", ")),
            hint: format!("{}; or do without (`.redis(false)`, `--no-redis`)", hint("redis", REDIS_SERVER)),
        })
    }
}

/// What the search depends on, so that tests can bring a machine of their own.
struct Search {
    pg_bin: Option<PathBuf>,
    redis_server: Option<PathBuf>,
    path: OsString,
    root: PathBuf,
}

impl Search {
    fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            pg_bin: variable(PG_BIN).map(PathBuf::from),
            redis_server: variable(REDIS_SERVER).map(PathBuf::from),
            path: variable("PATH").unwrap_or_default(),
            root: PathBuf::from("/"),
        }
    }

    fn postgres(&self) -> Result<PathBuf, DevError> {
        let is_there = |dir: &PathBuf| dir.join("postgres").is_file() && dir.join("initdb").is_file();
        // A folder of links may hold links to some of the programs only; the one they lead to has them all.
        let real = |dir: PathBuf| {
            let target = dir.join("postgres").canonicalize().ok().and_then(|file| Some(file.parent()?.to_owned()));
            target.filter(is_there).unwrap_or(dir)
        };
        let not_installed = |looked_in: String| DevError::NotInstalled {
            what: "PostgreSQL (postgres and initdb)",
            looked_in,
            hint: hint("postgresql", PG_BIN),
        };
        if let Some(dir) = &self.pg_bin {
            // What was said explicitly is not silently replaced by something else.
            return Some(dir.clone())
                .filter(is_there)
                .ok_or_else(|| not_installed(format!("{}, which ${PG_BIN} names", dir.display())));
        }
        let (system, homebrew) = VERSIONED.split_at(2);
        let versions = |places: &[(&str, &str, &str)]| {
            places.iter().flat_map(|(parent, prefix, bin)| self.versions(parent, prefix, bin)).collect::<Vec<_>>()
        };
        std::env::split_paths(&self.path)
            .chain(versions(system))
            .find(is_there)
            .or_else(|| self.pg_config().filter(is_there))
            .or_else(|| versions(homebrew).into_iter().find(is_there))
            .map(real)
            .ok_or_else(|| {
                let folders: Vec<_> =
                    VERSIONED.iter().map(|(parent, prefix, bin)| format!("{parent}/{prefix}*/{bin}")).collect();
                not_installed(format!("PATH, `pg_config --bindir`, {}", folders.join(", ")))
            })
    }

    fn redis(&self) -> Result<Option<PathBuf>, DevError> {
        if let Some(file) = &self.redis_server {
            return if file.is_file() {
                Ok(Some(file.clone()))
            } else {
                Err(DevError::NotInstalled {
                    what: "the Redis server",
                    looked_in: format!("{}, which ${REDIS_SERVER} names", file.display()),
                    hint: hint("redis", REDIS_SERVER),
                })
            };
        }
        let folders: Vec<PathBuf> =
            std::env::split_paths(&self.path).chain(REDIS_FOLDERS.iter().map(|dir| self.at(dir))).collect();
        let files = REDIS_NAMES.iter().flat_map(|name| folders.iter().map(move |dir| dir.join(name)));
        Ok({ files }.find(|file| file.is_file()))
    }

    /// The versions installed side by side under `parent`, newest first.
    fn versions(&self, parent: &str, prefix: &str, bin: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.at(parent)).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix(prefix)?.trim_start_matches('@').to_owned();
            Some((number_of(&number), entry.path().join(bin)))
        });
        let mut found: Vec<_> = named.collect();
        found.sort_by(|(left, _), (right, _)| right.total_cmp(left));
        found.into_iter().map(|(_, dir)| dir).collect()
    }

    fn pg_config(&self) -> Option<PathBuf> {
        let program = std::env::split_paths(&self.path).map(|dir| dir.join("pg_config")).find(|file| file.is_file())?;
        let output = Command::new(program).arg("--bindir").output().ok()?;
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
    }

    fn at(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }
}

/// `15`, `9.6`, `17-beta`: enough to sort by.
fn number_of(text: &str) -> f64 {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].parse().unwrap_or(0.0)
}

fn version(program: &Path, before: &str) -> Option<u32> {
    let output = Command::new(program).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout), before)
}

/// `postgres (PostgreSQL) 15.18 (Debian ..)`, `postgres (PostgreSQL) 18beta1`, `Redis server v=7.0.15 sha=..`.
fn parse_version(output: &str, before: &str) -> Option<u32> {
    let rest = output.split_once(before)?.1;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

fn hint(package: &str, variable: &str) -> String {
    let install = install_line(package, cfg!(target_os = "macos"), Path::new("/"));
    format!("Install it with `{install}`, or point ${variable} to it")
}

fn install_line(package: &str, macos: bool, root: &Path) -> String {
    let has = |program: &str| root.join("usr/bin").join(program).exists();
    let postgres = package == "postgresql";
    if macos {
        format!("brew install {}", if postgres { "postgresql@17" } else { "redis" })
    } else if has("dnf") {
        format!("sudo dnf install {}", if postgres { "postgresql-server postgresql-contrib" } else { "valkey" })
    } else if has("apk") || root.join("sbin/apk").exists() {
        format!("apk add {}", if postgres { "postgresql postgresql-contrib" } else { "redis" })
    } else if has("pacman") {
        format!("sudo pacman -S {}", if postgres { "postgresql" } else { "valkey" })
    } else {
        format!("sudo apt-get install {}", if postgres { "postgresql postgresql-contrib" } else { "redis-server" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> (tempfile::TempDir, Search) {
        let root = tempfile::tempdir().unwrap();
        let search = Search { pg_bin: None, redis_server: None, path: OsString::new(), root: root.path().to_owned() };
        (root, search)
    }

    fn install(root: &Path, dir: &str, programs: &[&str]) -> PathBuf {
        let dir = root.join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        for program in programs {
            std::fs::write(dir.join(program), "").unwrap();
        }
        dir
    }

    #[test]
    fn the_newest_installed_version_wins_by_number_not_by_letter() {
        let (root, search) = machine();
        for version in ["9.6", "10", "15", "16"] {
            install(root.path(), &format!("usr/lib/postgresql/{version}/bin"), &["postgres", "initdb"]);
        }
        install(root.path(), "usr/lib/postgresql/17/bin", &["psql"]); // a client package: no server in it
        assert_eq!(search.postgres().unwrap(), root.path().join("usr/lib/postgresql/16/bin"));
    }

    #[test]
    fn path_wins_over_packages_and_the_variable_over_path() {
        let (root, mut search) = machine();
        install(root.path(), "usr/lib/postgresql/15/bin", &["postgres", "initdb"]);
        let in_path = install(root.path(), "mine", &["postgres", "initdb"]);
        search.path = in_path.clone().into_os_string();
        assert_eq!(search.postgres().unwrap(), in_path);
        let named = install(root.path(), "named", &["postgres", "initdb"]);
        search.pg_bin = Some(named.clone());
        assert_eq!(search.postgres().unwrap(), named);
    }

    #[test]
    fn links_are_followed_to_the_folder_with_all_programs() {
        let (root, mut search) = machine();
        let whole = install(root.path(), "usr/lib/postgresql/15/bin", &["postgres", "initdb", "pg_rewind"]);
        let links = install(root.path(), "usr/local/bin", &[]);
        for program in ["postgres", "initdb"] {
            std::os::unix::fs::symlink(whole.join(program), links.join(program)).unwrap();
        }
        search.path = links.into_os_string();
        assert_eq!(search.postgres().unwrap(), whole.canonicalize().unwrap());
    }

    #[test]
    fn a_wrong_variable_is_an_error_and_not_a_search() {
        let (root, mut search) = machine();
        install(root.path(), "usr/lib/postgresql/15/bin", &["postgres", "initdb"]);
        search.pg_bin = Some(root.path().join("nowhere"));
        let message = search.postgres().unwrap_err().to_string();
        assert!(message.contains("nowhere") && message.contains(PG_BIN), "{message}");
        search.redis_server = Some(root.path().join("nothing"));
        assert!(search.redis().unwrap_err().to_string().contains(REDIS_SERVER));
    }

    #[test]
    fn homebrew_and_valkey_are_found() {
        let (root, search) = machine();
        install(root.path(), "opt/homebrew/opt/postgresql@14/bin", &["postgres", "initdb"]);
        install(root.path(), "opt/homebrew/opt/postgresql@17/bin", &["postgres", "initdb"]);
        install(root.path(), "opt/homebrew/bin", &["valkey-server"]);
        assert_eq!(search.postgres().unwrap(), root.path().join("opt/homebrew/opt/postgresql@17/bin"));
        assert_eq!(search.redis().unwrap(), Some(root.path().join("opt/homebrew/bin/valkey-server")));
    }

    #[test]
    fn nothing_found_says_what_to_install() {
        let (root, search) = machine();
        let message = search.postgres().unwrap_err().to_string();
        assert!(message.contains("nstall") && message.contains(PG_BIN), "{message}");
        assert_eq!(search.redis().unwrap(), None);
        assert_eq!(install_line("postgresql", true, root.path()), "brew install postgresql@17");
        assert_eq!(install_line("redis", false, root.path()), "sudo apt-get install redis-server");
    }

    #[test]
    fn versions_are_read_from_what_the_programs_say() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", "(PostgreSQL) "), Some(15));
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1", "(PostgreSQL) "), Some(18));
        assert_eq!(parse_version("Valkey server v=8.0.1 sha=0", "v="), Some(8));
        assert_eq!(parse_version("bash: no such file", "v="), None);
    }
}
