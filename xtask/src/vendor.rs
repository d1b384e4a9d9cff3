//! `cargo xtask vendor`: the chart library that the dashboard is served with, as its publisher published it.

use crate::shell;
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Command;

/// What npm calls a file, and what it is called here.
const FILES: [(&str, &str); 3] =
    [("dist/uPlot.iife.min.js", "uplot.js"), ("dist/uPlot.min.css", "uplot.css"), ("LICENSE", "LICENSE")];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let check = match arguments {
        [] => false,
        [only] if only == "--check" => true,
        _ => bail!("unknown arguments: write `cargo xtask vendor` or `cargo xtask vendor --check`"),
    };
    install()?;
    let published = shell::root().join("tests/dashboard/node_modules/uplot");
    let ours = shell::root().join("dbopt-core/src/runtime/http/dashboard/uplot");
    for (theirs, name) in FILES {
        let (theirs, own) = (published.join(theirs), ours.join(name));
        let content = fs::read(&theirs).with_context(|| theirs.display().to_string())?;
        if fs::read(&own).is_ok_and(|known| known == content) {
            println!("{} is as it was published", shell::relative(&own));
        } else if check {
            bail!("{} is not as it was published: `cargo xtask vendor` fetches it", shell::relative(&own));
        } else {
            fs::write(&own, content).with_context(|| own.display().to_string())?;
            println!("{} was fetched", shell::relative(&own));
        }
    }
    Ok(())
}

/// Has npm fetch what the lock file of the dashboard names, and nothing else.
pub(crate) fn install() -> Result<()> {
    if shell::on_path("npm").is_none() {
        bail!("npm is missing; Debian: apt-get install nodejs npm");
    }
    let folder = shell::root().join("tests/dashboard");
    shell::run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder))
}
