//! `cargo xtask failover`: kills and freezes the primary of a supervised cluster under writers, and judges.

use crate::{setup, shell};
use anyhow::Result;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
    setup::ensure()?;
    let build = ["run", "--quiet", "-p", "dbopt-tests", "--bin", "failover", "--"];
    shell::run(shell::cargo().args(build).args(arguments))
}
