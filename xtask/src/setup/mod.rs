//! `cargo xtask setup`: PostgreSQL's and Redis' programs, found or installed. Starts and changes no server.

mod advice;
mod detect;
mod install;

use crate::{no_arguments, shell, term};
use anyhow::{Result, bail};
use detect::{Found, Place};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    no_arguments("setup", arguments)?;
    let found = provide()?;
    for place in [found.postgres, found.redis].into_iter().flatten() {
        println!("{} {place}", term::stdout().green("ok"));
    }
    Ok(())
}

/// Sees to it that the servers' programs are there; says nothing when they are.
pub(crate) fn ensure() -> Result<()> {
    provide().map(drop)
}

fn provide() -> Result<Found> {
    let found = detect::detect(&Place::this_machine())?;
    let missing = found.missing();
    if missing.is_empty() {
        return Ok(found);
    }
    shell::note(&format!("Missing: {}", missing.join(", ")));
    if let Err(error) = install::install(&missing) {
        eprintln!("{}", advice::for_this_machine(&missing));
        return Err(error.context("cannot install what is missing"));
    }
    let found = detect::detect(&Place::this_machine())?;
    let missing = found.missing();
    if !missing.is_empty() {
        bail!("still missing after the installation: {}\n{}", missing.join(", "), advice::for_this_machine(&missing));
    }
    Ok(found)
}
