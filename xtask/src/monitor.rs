//! `cargo xtask monitor`: the demo with Prometheus and Alertmanager beside it.

use crate::demo::{self, PACKAGE};
use crate::{setup, shell};
use anyhow::Result;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
    setup::ensure_monitoring()?;
    demo::build(&["demo", "monitor"])?;
    let mut monitor = shell::cargo();
    monitor.args(["run", "--quiet", "--release", "-p", PACKAGE, "--bin", "monitor", "--"]).args(arguments);
    demo::replace_with(monitor)
}
