//! A node's data folder is made under another name and gets its own when it is whole: what a killed start leaves behind
//! is never taken for data.

use std::fs::{self, File};
use std::io::{self, PipeWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use super::account::Account;
use super::error::DevError;

/// A data folder being made.
pub(super) struct Unfinished {
    making: PathBuf,
    data: PathBuf,
}

impl Unfinished {
    /// Nothing is there yet: what an earlier attempt left is removed.
    pub(super) fn begin(data: &Path) -> Result<Self, DevError> {
        let making = data.with_extension("unfinished");
        match fs::remove_dir_all(&making) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(DevError::io(format!("remove {}", making.display()))(error))
            }
            _ => Ok(Self { making, data: data.to_owned() }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.making
    }

    pub(super) fn finish(self) -> Result<(), DevError> {
        fs::rename(&self.making, &self.data).map_err(DevError::io(format!("name {}", self.data.display())))
    }
}

/// Copies a folder of plain files. Half as long as `cp -Rp`, which also cares for times and attributes.
///
/// # Cancel safety
/// A thread cannot be dropped: an abandoned copy ends at its next file, and until then `leash` keeps the guardian from
/// clearing away under its hands.
pub(super) async fn copy(
    from: PathBuf,
    to: PathBuf,
    account: Account,
    leash: Option<Arc<PipeWriter>>,
) -> Result<(), DevError> {
    let doing = format!("copy {} to {}", from.display(), to.display());
    let wanted = Arc::new(());
    let mut work = Copying { account, wanted: Arc::downgrade(&wanted), buffer: Vec::new() };
    let copy = tokio::task::spawn_blocking(move || {
        let result = work.folder(&from, &to);
        drop(leash);
        result
    });
    let result = copy.await.unwrap_or_else(|error| Err(error.into()));
    drop(wanted);
    result.map_err(DevError::io(doing))
}

struct Copying {
    account: Account,
    /// Gone when nobody waits for the copy any more.
    wanted: Weak<()>,
    buffer: Vec<u8>,
}

impl Copying {
    fn folder(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.account.make_dir(to)?;
        for entry in fs::read_dir(from)? {
            if self.wanted.strong_count() == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                self.folder(&entry.path(), &target)?;
            } else {
                self.file(&entry.path(), &target)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.buffer.clear();
        File::open(from)?.read_to_end(&mut self.buffer)?;
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(to)?;
        file.write_all(&self.buffer)?;
        self.account.own_file(&file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_copy_is_whole_and_has_its_name_only_when_finished() {
        let dir = tempfile::tempdir().unwrap();
        let (from, data) = (dir.path().join("from"), dir.path().join("data"));
        fs::create_dir_all(from.join("base/1")).unwrap();
        fs::write(from.join("base/1/1259"), [7; 8192]).unwrap();
        fs::write(from.join("PG_VERSION"), "15\n").unwrap();
        for _ in 0..2 {
            // The first attempt is given up.
            let unfinished = Unfinished::begin(&data).unwrap();
            copy(from.clone(), unfinished.path().to_owned(), Account::choose().unwrap(), None).await.unwrap();
            assert!(!data.exists());
        }
        Unfinished { making: data.with_extension("unfinished"), data: data.clone() }.finish().unwrap();
        assert_eq!(fs::read(data.join("base/1/1259")).unwrap(), [7; 8192]);
        assert_eq!(fs::read_to_string(data.join("PG_VERSION")).unwrap(), "15\n");
    }
}
