//! A cluster started again in a folder that an earlier one left.

use std::path::Path;

use super::error::DevError;
use super::node::{Node, Shared};
use super::process::Program;
use super::tree::Unfinished;

/// Makes the node that was primary last the one in `primary/`, removes the others, and says whether there was any.
pub(super) fn settle_leader(nodes: &[Node], shared: &Shared) -> Result<bool, DevError> {
    let doing = |what: &str| DevError::io(format!("{what} in {}", shared.dir.display()));
    // Not only today's nodes: an earlier cluster may have had more of them.
    let entries = std::fs::read_dir(&shared.dir).map_err(doing("look for nodes"))?;
    let found =
        entries.flatten().map(|entry| entry.path().join("data")).filter(|data| data.join("PG_VERSION").exists());
    let found: Vec<_> = found.collect();
    let leader = found.iter().filter(|data| !data.join("standby.signal").exists()).max_by_key(|data| timeline(data));
    let Some(leader) = leader else {
        if found.is_empty() {
            return Ok(false);
        }
        return Err(DevError::Invalid(format!(
            "{} holds standbys only, no primary to go on with: remove the folder or choose another",
            shared.dir.display()
        )));
    };
    check_version(leader, shared)?;
    for data in found.iter().filter(|data| *data != leader) {
        std::fs::remove_dir_all(data).map_err(doing("remove an old replica"))?;
    }
    let primary = nodes[0].data_dir();
    if *leader != primary {
        shared.account.create_dir(&shared.dir.join(nodes[0].name()))?;
        std::fs::rename(leader, &primary).map_err(doing("rename the last primary"))?;
    }
    // What was set on the running node (delays, fences, another upstream) belonged to that run.
    shared.account.write(&primary.join("postgresql.auto.conf"), "")?;
    Ok(true)
}

/// A copy of a running server, as data of a standby, in the folder `to`.
pub(super) async fn copy_running(leader: &Node, replica: &Node, to: &Path) -> Result<(), DevError> {
    let shared = &leader.shared;
    let home = shared.dir.join(replica.name());
    let unfinished = Unfinished::begin(to)?;
    let data = unfinished.path();
    let program =
        Program::new("pg_basebackup", shared.binaries.tool("pg_basebackup"), home.clone(), home.join("copy.log"));
    let mut program = program
        .args(["--host=127.0.0.1", "--username=postgres", "--no-password", "--checkpoint=fast", "--wal-method=stream"])
        .args([format!("--port={}", leader.port)])
        .args(["-D".as_ref(), data.as_os_str()]);
    if !shared.durable {
        program = program.args(["--no-sync"]);
    }
    if let Some(password) = &shared.password {
        program = program.env("PGPASSWORD", password);
    }
    program.run(&shared.account).await?;
    shared.account.write(&data.join("standby.signal"), "")?;
    unfinished.finish()
}

fn check_version(data: &Path, shared: &Shared) -> Result<(), DevError> {
    let version = std::fs::read_to_string(data.join("PG_VERSION")).unwrap_or_default();
    if version.trim() == shared.binaries.postgres_major.to_string() {
        return Ok(());
    }
    Err(DevError::Invalid(format!(
        "{} was made by PostgreSQL {}, and {} is PostgreSQL {}: set $DBOPT_PG_BIN, or remove the folder",
        shared.dir.display(),
        version.trim(),
        shared.binaries.postgres_dir.display(),
        shared.binaries.postgres_major
    )))
}

/// The newest timeline a data folder knows. From the history files, because a promoted server's control file shows the
/// old one until its next checkpoint, minutes later.
fn timeline(data: &Path) -> u32 {
    let files = std::fs::read_dir(data.join("pg_wal")).into_iter().flatten().flatten();
    let numbers = files.filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        u32::from_str_radix(name.strip_suffix(".history")?, 16).ok()
    });
    numbers.max().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeline_is_the_newest_history_in_hexadecimal() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(timeline(data.path()), 1);
        std::fs::create_dir(data.path().join("pg_wal")).unwrap();
        for name in ["00000002.history", "0000000A.history", "00000009.history", "000000010000000000000001"] {
            std::fs::write(data.path().join("pg_wal").join(name), "").unwrap();
        }
        assert_eq!(timeline(data.path()), 10);
    }
}
