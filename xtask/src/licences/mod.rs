//! `cargo xtask licences`: every dependency's licence and source, by cargo-deny or by our own reading of deny.toml.

mod expression;

use crate::{no_arguments, shell, source};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    no_arguments("licences", arguments)?;
    if shell::has_cargo_command("deny") {
        // Advisories change while the code does not; they are looked at on their own: `cargo deny check advisories`.
        return shell::run(shell::cargo().args(["deny", "--all-features", "check", "licenses", "bans", "sources"]));
    }
    let root = shell::root();
    let allowed = allowed(&source::text(&root.join("deny.toml"))?)?;
    let mut tree = shell::cargo();
    tree.args(["tree", "--workspace", "--all-features", "--target=all", "--edges=normal,build,dev", "--prefix=none"]);
    let packages = packages(&shell::read(tree.args(["--format", "{p}|{l}"]))?);
    let mut mistakes = foreign_sources(&source::text(&root.join("Cargo.lock"))?);
    for (package, licence) in &packages {
        match expression::satisfied(licence, &|name| allowed.iter().any(|allowed| allowed == name)) {
            Some(true) => {}
            Some(false) => mistakes.push(format!("{package}: `{licence}` is not allowed by deny.toml")),
            None => mistakes.push(format!("{package}: `{licence}` is not an SPDX expression")),
        }
    }
    if !mistakes.is_empty() {
        bail!("dependencies that may not be used:\n  {}", mistakes.join("\n  "));
    }
    println!("{} dependencies: licences and sources are allowed", packages.len());
    Ok(())
}

/// The list `allow` of deny.toml's section `[licenses]`.
fn allowed(text: &str) -> Result<Vec<String>> {
    let code: String =
        text.lines().map(|line| line.split('#').next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let section = code.split_once("[licenses]").context("deny.toml has no section [licenses]")?.1;
    let list = section.split_once("allow = [").context("deny.toml's [licenses] has no list `allow`")?.1;
    let list = list.split_once(']').context("deny.toml's list `allow` has no end")?.0;
    Ok(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

/// Name and licence of each package in what `cargo tree` prints, our own left out.
fn packages(tree: &str) -> BTreeMap<String, String> {
    let lines = tree.lines().filter_map(|line| line.split_once('|'));
    let foreign = lines.filter(|(package, _)| !package.contains(" (/") && !package.contains("(*)"));
    foreign.map(|(package, licence)| (package.to_owned(), licence.trim_end_matches(" (*)").trim().to_owned())).collect()
}

fn foreign_sources(lock: &str) -> Vec<String> {
    let sources = lock.lines().filter_map(|line| line.strip_prefix("source = \"")?.strip_suffix('"'));
    let foreign = sources.filter(|source| *source != CRATES_IO);
    foreign.map(|source| format!("Cargo.lock: {source}: only crates.io is a source")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_own_deny_toml_is_read() {
        let allowed = allowed(&source::text(&shell::root().join("deny.toml")).unwrap()).unwrap();
        assert!(allowed.contains(&"MIT".to_owned()) && allowed.contains(&"Apache-2.0".to_owned()), "{allowed:?}");
        assert!(!allowed.iter().any(|name| name.contains("GPL")), "{allowed:?}");
    }

    #[test]
    fn packages_of_ours_and_repetitions_are_left_out() {
        let tree = "xtask v0.1.0 (/home/me/dbopt/xtask)|MIT\nserde v1.0.1|MIT OR Apache-2.0\nsyn v3.0.0 (proc-macro)|MIT (*)\n";
        let packages = packages(tree);
        assert_eq!(packages.len(), 2);
        assert_eq!(packages["serde v1.0.1"], "MIT OR Apache-2.0");
        assert_eq!(packages["syn v3.0.0 (proc-macro)"], "MIT");
    }

    #[test]
    fn a_dependency_from_elsewhere_is_refused() {
        let lock = format!("source = \"{CRATES_IO}\"\nsource = \"git+https://example.org/x#1\"\n");
        assert_eq!(foreign_sources(&lock).len(), 1);
    }
}
