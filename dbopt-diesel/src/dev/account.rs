//! Who the servers run as: PostgreSQL refuses root.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, chown, fchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::error::DevError;

/// The user that owns the cluster's files and processes.
#[derive(Clone, Debug)]
pub(super) struct Account {
    /// `None`: we are not root, so everything is simply ours.
    other: Option<(u32, u32)>,
}

impl Account {
    /// As root: `postgres` if there is such a user, else `nobody`.
    pub(super) fn choose() -> Result<Self, DevError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { other: None });
        }
        match ["postgres", "nobody"].into_iter().find_map(look_up) {
            Some(ids) => Ok(Self { other: Some(ids) }),
            None => Err(DevError::Invalid(
                "you are root, which PostgreSQL refuses, and there is neither a user `postgres` nor `nobody` to run as: \
                 add one (`useradd --system postgres`) or start as an ordinary user"
                    .to_owned(),
            )),
        }
    }

    /// The user's number, also when it is our own.
    pub(super) fn uid(&self) -> u32 {
        self.other.map_or_else(|| rustix::process::geteuid().as_raw(), |(uid, _)| uid)
    }

    /// Makes the command run as this user (the standard library drops the supplementary groups with it).
    pub(super) fn drop_rights(&self, command: &mut Command) {
        if let Some((uid, gid)) = self.other {
            command.uid(uid).gid(gid);
        }
    }

    pub(super) fn own(&self, path: &Path) -> io::Result<()> {
        match self.other {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }

    pub(super) fn own_file(&self, file: &File) -> io::Result<()> {
        match self.other {
            Some((uid, gid)) => fchown(file, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }

    /// A folder of this user that nobody else can look into: PostgreSQL insists on that.
    pub(super) fn create_dir(&self, path: &Path) -> Result<(), DevError> {
        self.make_dir(path).map_err(DevError::io(format!("create {}", path.display())))
    }

    pub(super) fn make_dir(&self, path: &Path) -> io::Result<()> {
        match std::fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            other => other?,
        }
        std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
        self.own(path)
    }

    /// A file of this user. Made anew each time, so that as root we never write through a link put in its place.
    pub(super) fn write(&self, path: &Path, content: &str) -> Result<(), DevError> {
        let write = || {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = File::options().write(true).create_new(true).open(path)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(content.as_bytes())?;
            self.own_file(&file)
        };
        write().map_err(DevError::io(format!("write {}", path.display())))
    }

    /// As another user we can only use folders that everybody may pass through; says which one is in the way.
    pub(super) fn check_reach(&self, dir: &Path) -> Result<(), DevError> {
        let Some((uid, _)) = self.other else { return Ok(()) };
        let closed = dir.ancestors().skip(1).find(|folder| {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(folder).is_ok_and(|meta| meta.mode() & 0o001 == 0 && meta.uid() != uid)
        });
        match closed {
            None => Ok(()),
            Some(folder) => Err(DevError::Invalid(format!(
                "you are root, so the servers run as user {uid}, who cannot enter {}: choose a data folder that others \
                 can reach (or set TMPDIR), or start as an ordinary user",
                folder.display()
            ))),
        }
    }
}

/// `id` rather than /etc/passwd: it also knows users from LDAP and the like.
fn look_up(user: &str) -> Option<(u32, u32)> {
    let number = |option| {
        let output = Command::new("id").args([option, user]).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    Some((number("-u")?, number("-g")?)).filter(|(uid, _)| *uid != 0)
}
