//! `cargo xtask patroni`: the tests on the real Patroni and etcd.

use crate::{setup, shell};
use anyhow::Result;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
    let site = setup::ensure_patroni()?;
    let mut cargo = shell::cargo();
    // One at a time: they measure.
    cargo.args([
        "test",
        "-p",
        "dbopt-tests",
        "--test",
        "patroni",
        "--",
        "--ignored",
        "--nocapture",
        "--test-threads",
        "1",
    ]);
    shell::run(cargo.env("PATRONI_SITE", site).args(arguments))
}
