//! Runs the installation script, as root or through sudo.

use crate::shell;
use anyhow::{Context, Result, bail};
use std::io::IsTerminal;
use std::path::Path;
use std::process::Command;

const DEBIAN: &str = include_str!("install-debian.sh");

pub(super) fn install(missing: &[&str]) -> Result<()> {
    if shell::on_path("apt-get").is_none() || !Path::new("/etc/debian_version").exists() {
        bail!("only Debian and its relatives are installed on automatically");
    }
    let mut command = as_root()?;
    command.args(["sh", "-c", DEBIAN, "dbopt-setup"]).args(missing);
    shell::note("Installing with apt-get (xtask/src/setup/install-debian.sh); no server is created or started.");
    let status = command.status().context("cannot start the installation")?;
    if !status.success() {
        bail!("the installation ended with {status}");
    }
    Ok(())
}

/// A command that runs the words given to it as root.
fn as_root() -> Result<Command> {
    let user = shell::read(Command::new("id").arg("-u"))?;
    if user.trim() == "0" {
        return Ok(Command::new("env"));
    }
    if shell::on_path("sudo").is_none() {
        bail!("installing needs root, and there is no sudo");
    }
    let mut sudo = Command::new("sudo");
    // Without a terminal nobody can type a password: fail instead of waiting.
    if !std::io::stdin().is_terminal() {
        sudo.arg("--non-interactive");
    }
    Ok(sudo)
}
