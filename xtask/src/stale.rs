//! `cargo xtask stale`: the history checker of the cache, optimised, on servers of its own.

use crate::{setup, shell};
use anyhow::Result;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
    setup::ensure()?;
    let build = ["run", "--quiet", "--release", "-p", "dbopt-tests", "--bin", "stale", "--"];
    shell::run(shell::cargo().args(build).args(arguments))
}
