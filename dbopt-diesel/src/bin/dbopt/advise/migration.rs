//! Migrations that make what is advised: one for each index, as each runs outside a transaction.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dbopt_diesel::advise::Report;

use crate::migrate::stamp;

/// Writes them into `folder`; unverified advice is left to people.
pub(super) fn write(folder: &Path, report: &Report) -> io::Result<Vec<PathBuf>> {
    // A name for people, made once on the developer's machine: no decision rests on it.
    #[allow(clippy::disallowed_methods)]
    let now = SystemTime::now();
    write_at(folder, report, now)
}

fn write_at(folder: &Path, report: &Report, now: SystemTime) -> io::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let verified = report.missing.iter().filter(|advice| advice.verified.is_verified());
    for (advice, second) in verified.zip(0..) {
        let version = stamp(now + Duration::from_secs(second));
        let name: String = advice.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let dir = folder.join(format!("{version}_{name}"));
        fs::create_dir_all(&dir)?;
        fs::write(
            dir.join("metadata.toml"),
            "# Its statement cannot run in a transaction.\nrun_in_transaction = false\n",
        )?;
        fs::write(dir.join("up.sql"), format!("-- For {}.\n{};\n", advice.why, advice.create))?;
        fs::write(dir.join("down.sql"), format!("{};\n", advice.drop))?;
        written.push(dir.join("up.sql"));
    }
    Ok(written)
}
