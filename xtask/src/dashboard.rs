//! `cargo xtask dashboard`: the dashboard in a browser, on a cluster of its own.

use crate::{setup, shell, vendor};
use anyhow::Result;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
    setup::ensure()?;
    if !arguments.iter().any(|argument| ["--serve", "--help", "-h"].contains(&argument.as_str())) {
        vendor::install()?;
    }
    let build = ["run", "--quiet", "-p", "dbopt-tests", "--bin", "dashboard", "--"];
    shell::run(shell::cargo().args(build).args(arguments))
}
