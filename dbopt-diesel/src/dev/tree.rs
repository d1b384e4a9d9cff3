//! A node's data folder is made under another name and gets its own when it is whole: what a killed start leaves behind
//! is never taken for data.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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
pub(super) async fn copy(from: PathBuf, to: PathBuf, account: Account) -> Result<(), DevError> {
    let doing = format!("copy {} to {}", from.display(), to.display());
    let copy = tokio::task::spawn_blocking(move || copy_folder(&from, &to, &account, &mut Vec::new()));
    copy.await.unwrap_or_else(|error| Err(error.into())).map_err(DevError::io(doing))
}

fn copy_folder(from: &Path, to: &Path, account: &Account, buffer: &mut Vec<u8>) -> io::Result<()> {
    account.make_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target, account, buffer)?;
            continue;
        }
        buffer.clear();
        File::open(entry.path())?.read_to_end(buffer)?;
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(target)?;
        file.write_all(buffer)?;
        account.own_file(&file)?;
    }
    Ok(())
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
            copy(from.clone(), unfinished.path().to_owned(), Account::choose().unwrap()).await.unwrap();
            assert!(!data.exists());
        }
        Unfinished { making: data.with_extension("unfinished"), data: data.clone() }.finish().unwrap();
        assert_eq!(fs::read(data.join("base/1/1259")).unwrap(), [7; 8192]);
        assert_eq!(fs::read_to_string(data.join("PG_VERSION")).unwrap(), "15\n");
    }
}
