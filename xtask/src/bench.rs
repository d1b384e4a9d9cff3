//! `cargo xtask bench`: the benchmarks of the `tests` package.

use crate::{setup, shell};
use anyhow::Result;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    setup::ensure()?;
    let split = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let (names, rest) = arguments.split_at(split);
    let mut cargo = shell::cargo();
    cargo.args(["bench", "-p", "dbopt-tests"]);
    match names {
        [] => cargo.arg("--benches"),
        names => cargo.args(names.iter().flat_map(|name| ["--bench", name])),
    };
    shell::run(cargo.args(rest))
}
