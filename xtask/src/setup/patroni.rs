//! Patroni and etcd for their tests: etcd from Debian, Patroni from PyPI, into a folder of its own.

use crate::shell;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// Debian's own: the servers run as a user who may not see others.
const PYTHON: &str = "/usr/bin/python3";

const ADVICE: &str = "please install etcd, so that `etcd` is on PATH, and /usr/bin/python3 with pip";

/// Sees to it that both are there; the folder in which this version of Patroni is.
pub(crate) fn ensure_patroni(version: &str) -> Result<PathBuf> {
    super::ensure()?;
    let has_pip = || shell::read(Command::new(PYTHON).args(["-m", "pip", "--version"])).is_ok();
    let wanted = [("etcd-server", shell::on_path("etcd").is_some()), ("python3-pip", has_pip())];
    let missing: Vec<&str> = wanted.into_iter().filter(|(_, is_there)| !is_there).map(|(package, _)| package).collect();
    if !missing.is_empty() {
        shell::note(&format!("Missing: {}", missing.join(", ")));
        super::install::install(&missing).context(ADVICE)?;
        if shell::on_path("etcd").is_none() || !has_pip() {
            bail!("still missing after the installation: {ADVICE}");
        }
    }
    let site = folder(version)?;
    if site.join("patroni/__main__.py").is_file() {
        return Ok(site);
    }
    // By another name until it is whole.
    let making = site.with_extension("making");
    let _ = std::fs::remove_dir_all(&making);
    let patroni = format!("patroni[etcd3]=={version}");
    let mut pip = Command::new(PYTHON);
    pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(&making).args([&patroni, "psycopg2-binary"]);
    shell::run(&mut pip).context("Patroni comes from PyPI")?;
    std::fs::rename(&making, &site).with_context(|| format!("cannot make {}", site.display()))?;
    Ok(site)
}

/// A cache that the user of the servers can read: as root that is somebody else, who may not enter root's home.
fn folder(version: &str) -> Result<PathBuf> {
    let is_root = shell::read(Command::new("id").arg("-u"))?.trim() == "0";
    let home = std::env::var_os("HOME").filter(|_| !is_root);
    let cache = home.map_or_else(|| PathBuf::from("/var/cache"), |home| PathBuf::from(home).join(".cache"));
    let folder = cache.join("dbopt");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.join(format!("patroni-{version}")))
}
