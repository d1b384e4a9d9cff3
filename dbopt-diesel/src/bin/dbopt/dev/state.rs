//! What is recorded about the running cluster, and how one knows that it runs: its owner holds a lock, which the kernel
//! takes back however the owner ends.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use dbopt_diesel::dev::Cluster;
use serde::{Deserialize, Serialize};

/// Where a cluster of this folder is recorded.
pub(super) struct Folder(PathBuf);

/// A running cluster.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct State {
    pub(super) owner: u32,
    /// Its data, and whether that goes with it.
    pub(super) dir: (PathBuf, bool),
    pub(super) started_in_ms: u128,
    pub(super) database: String,
    pub(super) nodes: Vec<NodeState>,
    pub(super) redis: Option<RedisState>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct NodeState {
    pub(super) name: String,
    pub(super) upstream: Option<String>,
    pub(super) port: u16,
    pub(super) url: String,
    pub(super) direct_url: String,
    pub(super) log: PathBuf,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct RedisState {
    pub(super) port: u16,
    pub(super) url: String,
}

impl State {
    pub(super) fn of(cluster: &Cluster, temporary: bool) -> Self {
        let node = |node: &dbopt_diesel::dev::Node| NodeState {
            name: node.name().to_owned(),
            upstream: node.upstream().map(str::to_owned),
            port: node.port(),
            url: node.url(),
            direct_url: node.direct_url(),
            log: node.log().to_owned(),
        };
        Self {
            owner: std::process::id(),
            dir: (cluster.dir().to_owned(), temporary),
            started_in_ms: cluster.started_in().as_millis(),
            database: cluster.database().to_owned(),
            nodes: cluster.nodes().iter().map(node).collect(),
            redis: cluster.redis().map(|redis| RedisState { port: redis.port(), url: redis.url() }),
        }
    }
}

impl Folder {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// For the owner's messages while it runs in the background.
    pub(super) fn log(&self) -> io::Result<File> {
        self.create()?;
        File::create(self.0.join("dev.log"))
    }

    /// Takes the place of the owner; `None` when another process has it.
    pub(super) fn own(&self) -> io::Result<Option<File>> {
        self.create()?;
        let mut lock = File::options().read(true).write(true).create(true).truncate(false).open(self.lock_path())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        self.forget();
        lock.set_len(0)?;
        write!(lock, "{}", std::process::id())?;
        Ok(Some(lock))
    }

    /// The process that owns the running cluster, if there is one.
    pub(super) fn owner(&self) -> io::Result<Option<u32>> {
        let mut lock = match File::open(self.lock_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            lock => lock?,
        };
        match lock.try_lock_shared() {
            Ok(()) => return Ok(None),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut owner = String::new();
        lock.read_to_string(&mut owner)?;
        owner.trim().parse().map(Some).map_err(|_| io::Error::other("a cluster is just starting; try again"))
    }

    /// The running cluster, unless it is still starting.
    pub(super) fn running(&self) -> io::Result<Option<State>> {
        let owner = self.owner()?;
        Ok(self.state().filter(|state| owner == Some(state.owner)))
    }

    /// What is recorded, true or not any more.
    pub(super) fn state(&self) -> Option<State> {
        serde_json::from_slice(&std::fs::read(self.state_path()).ok()?).ok()
    }

    /// Whole or not at all: others read at any moment.
    pub(super) fn record(&self, state: &State) -> io::Result<()> {
        let new = self.0.join("dev.json.new");
        std::fs::write(&new, serde_json::to_vec_pretty(state)?)?;
        std::fs::rename(new, self.state_path())
    }

    pub(super) fn forget(&self) {
        let _ = std::fs::remove_file(self.state_path());
    }

    fn create(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)?;
        let ignore = self.0.join(".gitignore");
        if ignore.exists() { Ok(()) } else { std::fs::write(ignore, "*\n") }
    }

    fn lock_path(&self) -> PathBuf {
        self.0.join("dev.lock")
    }

    fn state_path(&self) -> PathBuf {
        self.0.join("dev.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_seen_while_it_holds_the_lock_and_not_after() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("state"));
        assert_eq!(folder.owner().unwrap(), None);
        let lock = folder.own().unwrap().unwrap();
        assert_eq!(folder.owner().unwrap(), Some(std::process::id()));
        assert!(folder.own().unwrap().is_none() && folder.running().unwrap().is_none());
        drop(lock);
        assert_eq!(folder.owner().unwrap(), None);
        assert!(folder.own().unwrap().is_some());
    }
}
