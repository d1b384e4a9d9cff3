//! `cargo xtask imports`: rooms and crates import only what lies below them.

mod check;
mod manifest;
mod paths;
mod rooms;

use crate::{no_arguments, shell, source};
use anyhow::{Result, bail};
use std::fmt;

/// A line that breaks a rule, and what to do about it.
#[derive(Debug, PartialEq)]
struct Violation {
    file: String,
    line: usize,
    what: String,
    rule: String,
    instead: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { file, line, what, rule, instead } = self;
        write!(f, "{file}:{line}: {what}\n    rule: {rule}\n    do:   {instead}")
    }
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    no_arguments("imports", arguments)?;
    let core = shell::root().join("dbopt-core/src");
    let mut modules = Vec::new();
    for path in source::files(&core, "rs")? {
        let inside = path.strip_prefix(&core).unwrap_or(&path);
        modules.push(check::Module::new(shell::relative(&path), inside, &source::text(&path)?)?);
    }
    let mut violations = check::check(&modules);
    for package in ["dbopt-macros", "dbopt-core", "dbopt-diesel"] {
        let path = shell::root().join(package).join("Cargo.toml");
        violations.extend(manifest::check(package, &shell::relative(&path), &source::text(&path)?));
    }
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => {
            println!("{} files of dbopt-core and three manifests: every import points downwards", modules.len());
            Ok(())
        }
        1 => bail!("one import goes the wrong way"),
        many => bail!("{many} imports go the wrong way"),
    }
}
