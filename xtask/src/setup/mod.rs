//! `cargo xtask setup`: PostgreSQL's and Redis' programs, found or installed. Starts and changes no server.

mod advice;
mod detect;
mod install;
mod patroni;

use crate::{no_arguments, shell, term};
use anyhow::{Context, Result, bail};
use detect::{Found, Place};

pub(crate) use patroni::ensure_patroni;

/// What `cargo xtask monitor` runs, each with the package that Debian has it in.
const MONITORING: [(&str, &str); 4] = [
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("prometheus-alertmanager", "prometheus-alertmanager"),
    ("amtool", "prometheus-alertmanager"),
];

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

/// Sees to it that the programs of the monitoring stack are there as well.
pub(crate) fn ensure_monitoring() -> Result<()> {
    ensure()?;
    let mut packages: Vec<&str> = absent().into_iter().map(|(_, package)| package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    shell::note(&format!("Missing: {}", packages.join(", ")));
    let advice = "please install Prometheus 2.42 or newer and Alertmanager, so that `prometheus`, `promtool`, \
                  `prometheus-alertmanager` and `amtool` are on PATH";
    install::install(&packages).context(advice)?;
    match absent().first() {
        None => Ok(()),
        Some((program, _)) => bail!("`{program}` is still missing after the installation: {advice}"),
    }
}

fn absent() -> Vec<(&'static str, &'static str)> {
    MONITORING.into_iter().filter(|(program, _)| shell::on_path(program).is_none()).collect()
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
