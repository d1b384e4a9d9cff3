//! `cargo xtask load`: requests at a rate at the example.

use crate::demo::{self, PACKAGE};
use crate::{setup, shell};
use anyhow::Result;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
    setup::ensure()?;
    demo::build(&["demo"])?;
    let mut load = shell::cargo();
    load.args(["run", "--quiet", "--release", "-p", PACKAGE, "--bin", "demo", "--", "load"]).args(arguments);
    demo::replace_with(load)
}
