//! The cluster's folder and the process that outlives us to clean it up.
//!
//! A destructor runs after a panic but not after SIGKILL, an abort or the power button of a test runner, and
//! `PR_SET_PDEATHSIG` is tied to a thread. A pipe is tied to the process: the kernel closes it, whatever happens.

use std::fs::{File, TryLockError};
use std::io::PipeWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::account::Account;
use super::error::DevError;
use super::process::Process;

const SCRIPT: &str = include_str!("guardian.sh");
const PREFIX: &str = "dbopt-dev-";
const LOCK: &str = "lock";

/// How long a folder's last owner gets to finish: its guardian may still be shutting servers down.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Owns a cluster's folder. Dropping it (or dying) ends every process of the cluster.
#[derive(Debug)]
pub(super) struct Guardian {
    dir: PathBuf,
    account: Account,
    lifetime: Lifetime,
    process: Process,
    /// Held, never written to: its end is the guardian's signal. Closed on exec, so no child of ours keeps it open.
    leash: Option<Arc<PipeWriter>>,
    lock: File,
}

/// What becomes of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// It goes with the cluster; the servers are killed.
    Remove,
    /// It was named by the user: the servers are shut down in order, and the data stays.
    Keep,
}

impl Guardian {
    /// Makes the folder (a temporary one, unless one is given) and puts a guardian over it before anything else is there.
    pub(super) async fn take(dir: Option<&Path>, account: &Account) -> Result<Self, DevError> {
        let (dir, lifetime) = match dir {
            Some(dir) => (dir.to_owned(), Lifetime::Keep),
            None => (temporary(account)?, Lifetime::Remove),
        };
        let made = async {
            if lifetime == Lifetime::Keep {
                std::fs::create_dir_all(&dir).map_err(DevError::io(format!("create {}", dir.display())))?;
                check_ours(&dir)?;
            }
            account.create_dir(&dir)?;
            // The guardian compares with what the kernel says, which has no links in it.
            let dir = dir.canonicalize().map_err(DevError::io(format!("find {}", dir.display())))?;
            account.check_reach(&dir)?;
            let lock = lock(&dir, lifetime, account).await?;
            let (process, leash) = start(&dir, lifetime, account, &lock)?;
            Ok(Self { dir, account: account.clone(), lifetime, process, leash: Some(Arc::new(leash)), lock })
        };
        let made = made.await;
        if made.is_err() && lifetime == Lifetime::Remove {
            let _ = std::fs::remove_dir_all(&dir);
        }
        made
    }

    /// For work in threads, which must end before the guardian may begin.
    pub(super) fn leash(&self) -> Weak<PipeWriter> {
        self.leash.as_ref().map(Arc::downgrade).unwrap_or_default()
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.lifetime == Lifetime::Remove
    }

    /// Ends the cluster and waits until the guardian has finished.
    pub(super) async fn finish(mut self) {
        self.end();
        self.process.exited().await;
    }

    fn end(&mut self) {
        if self.leash.take().is_some() && !self.process.is_running() {
            tracing::warn!(dir = %self.dir.display(), "the development cluster's guardian was killed; starting another");
            // Its leash is dropped at once: it goes straight to work.
            let _ = start(&self.dir, self.lifetime, &self.account, &self.lock);
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.end();
    }
}

fn start(dir: &Path, lifetime: Lifetime, account: &Account, lock: &File) -> Result<(Process, PipeWriter), DevError> {
    let doing = || DevError::io(format!("start the guardian of {}", dir.display()));
    let (hears, leash) = std::io::pipe().map_err(doing())?;
    let mut command = Command::new("/bin/sh");
    let then = if lifetime == Lifetime::Keep { "keep" } else { "remove" };
    command
        .args(["-c", SCRIPT, "dbopt-dev-guardian"])
        .arg(dir)
        .arg(then)
        .current_dir("/")
        .stdin(Stdio::from(hears))
        .stdout(Stdio::from(lock.try_clone().map_err(doing())?))
        .stderr(Stdio::null());
    account.drop_rights(&mut command);
    Ok((Process::spawn("the guardian", command)?, leash))
}

/// A new folder under the temporary one, after clearing away what a crashed machine or container left there.
fn temporary(account: &Account) -> Result<PathBuf, DevError> {
    let parent = std::env::temp_dir();
    sweep(&parent, account);
    let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent);
    Ok(dir.map_err(DevError::io(format!("create a folder in {}", parent.display())))?.keep())
}

/// Our folders whose lock nobody holds have lost both owner and guardian: give each a guardian that starts at the end.
fn sweep(parent: &Path, account: &Account) {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let dir = entry.path();
        let ours = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())
            && std::fs::symlink_metadata(&dir).is_ok_and(|meta| meta.is_dir() && meta.uid() == account.uid());
        if !ours {
            continue;
        }
        let Ok(lock) = File::open(dir.join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            tracing::info!(dir = %dir.display(), "removing what a development cluster left behind");
            let _ = start(&dir, Lifetime::Remove, account, &lock);
        }
    }
}

/// Its rights are about to be narrowed and its nodes rebuilt: not somebody's home folder, please.
fn check_ours(dir: &Path) -> Result<(), DevError> {
    let mut entries = std::fs::read_dir(dir).map_err(DevError::io(format!("read {}", dir.display())))?;
    if entries.next().is_none() || dir.join(LOCK).exists() {
        return Ok(());
    }
    Err(DevError::Invalid(format!("{} holds other files: name a new or empty folder for the data", dir.display())))
}

/// Takes the folder's lock; the guardian inherits it and so holds it for as long as it works.
async fn lock(dir: &Path, lifetime: Lifetime, account: &Account) -> Result<File, DevError> {
    let path = dir.join(LOCK);
    if lifetime == Lifetime::Remove {
        // Locked before it has its name: a sweep in another process never sees it free.
        let nameless = dir.join("lock.new");
        account.write(&nameless, "")?;
        let take = || {
            let file = File::open(&nameless)?;
            file.try_lock()?;
            std::fs::rename(&nameless, &path)?;
            std::io::Result::Ok(file)
        };
        return take().map_err(DevError::io(format!("lock {}", dir.display())));
    }
    let doing = || DevError::io(format!("lock {}", path.display()));
    let file = File::options().append(true).create(true).open(&path).map_err(doing())?;
    account.own(&path).map_err(doing())?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(TryLockError::WouldBlock) => return Err(DevError::InUse { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(doing()(source)),
        }
    }
}
