//! `cargo xtask patroni`: the tests on the real Patroni and etcd.

use crate::{setup, shell};
use anyhow::{Result, bail};

/// Versions of Patroni, and which of the tests run with each: all, or those with one of these in their names.
const RUNS: [(&str, &[&str]); 3] = [
    ("4.1.4", &[]),
    ("3.3.11", &["_is_killed_", "_whose_patroni_is_gone", "_switchover", "_loses_writes_"]),
    // Debian 12's; it loses writes, which is what the application says.
    ("3.0.2", &["_loses_writes_"]),
];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut arguments: Vec<String> = arguments.iter().filter(|argument| *argument != "--").cloned().collect();
    let mut version = None;
    if let Some(at) = arguments.iter().position(|argument| argument == "--version") {
        if arguments.len() < at + 2 {
            bail!("--version: write which one, such as --version 3.3.11");
        }
        version = arguments.drain(at..at + 2).next_back();
    }
    match version {
        Some(version) => run_with(&version, &arguments),
        None if arguments.is_empty() => RUNS.iter().try_for_each(|(version, filters)| {
            run_with(version, &filters.iter().map(|&filter| filter.to_owned()).collect::<Vec<_>>())
        }),
        None => run_with(RUNS[0].0, &arguments),
    }
}

fn run_with(version: &str, filters: &[String]) -> Result<()> {
    let site = setup::ensure_patroni(version)?;
    shell::note(&format!("Patroni {version}"));
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
    shell::run(cargo.env("PATRONI_SITE", site).args(filters))
}
