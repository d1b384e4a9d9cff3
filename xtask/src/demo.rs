//! `cargo xtask demo`: the example, on a cluster of its own, under traffic.

use crate::{setup, shell};
use anyhow::{Context, Result};
use std::process::Command;

pub(crate) const PACKAGE: &str = "dbopt-examples";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
    setup::ensure()?;
    build(&["flights", "demo"])?;
    let mut demo = shell::cargo();
    demo.args(["run", "--quiet", "--release", "-p", PACKAGE, "--bin", "demo", "--"]).args(arguments);
    replace_with(demo)
}

/// Builds programs of the examples.
pub(crate) fn build(programs: &[&str]) -> Result<()> {
    if programs.iter().any(|program| !shell::target().join("release").join(program).exists()) {
        shell::note("First build, optimised: some minutes on a small machine. Later runs start in seconds.");
    }
    let programs = programs.iter().flat_map(|program| ["--bin", program]);
    shell::run(shell::cargo().args(["build", "--release", "-p", PACKAGE]).args(programs))
}

/// Becomes that program: it gets the terminal's signals itself, and its exit code is ours.
#[cfg(unix)]
pub(crate) fn replace_with(mut command: Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    Err(command.exec()).context("cannot start the demo")
}

#[cfg(not(unix))]
pub(crate) fn replace_with(mut command: Command) -> Result<()> {
    let status = command.status().context("cannot start the demo")?;
    std::process::exit(status.code().unwrap_or(1));
}
