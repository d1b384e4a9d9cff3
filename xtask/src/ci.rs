//! `cargo xtask ci`: what .ci/run runs.

use crate::{book, criteria, imports, licences, no_arguments, shell, term, test};
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

type Check = fn() -> Result<()>;

/// Cheap steps first: a slip in them is told within seconds. The tests come after these.
const STEPS: &[(&str, Check)] = &[
    ("fmt", fmt),
    ("imports", || imports::run(&[])),
    ("criteria", || criteria::run(&[])),
    ("book", || book::run(&[])),
    ("licences", || licences::run(&[])),
    ("clippy", clippy),
    ("docs", docs),
];

struct Step {
    name: &'static str,
    took: Duration,
    passed: bool,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    no_arguments("ci", arguments)?;
    let started = Instant::now();
    let mut steps = Vec::new();
    for (name, check) in STEPS {
        announce(name);
        let begun = Instant::now();
        let result = check();
        if let Err(error) = &result {
            eprintln!("{} {error:#}", term::stderr().red("error:"));
        }
        steps.push(report(Step { name, took: begun.elapsed(), passed: result.is_ok() }));
    }

    announce("test");
    let begun = Instant::now();
    let tests = test::run_all();
    if let Err(error) = &tests {
        eprintln!("{} {error:#}", term::stderr().red("error:"));
    }
    let passed = tests.as_ref().is_ok_and(test::Outcome::passed);
    steps.push(report(Step { name: "test", took: begun.elapsed(), passed }));

    print_table(&steps, started.elapsed());
    if let Ok(outcome) = &tests {
        outcome.print_closing_line();
    }
    let failed: Vec<&str> = steps.iter().filter(|step| !step.passed).map(|step| step.name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn announce(name: &str) {
    eprintln!("\n{}", term::stderr().bold(&format!("== {name}")));
}

fn report(step: Step) -> Step {
    let verdict = if step.passed { "ok" } else { "failed" };
    shell::note(&format!("== {} {verdict} after {}", step.name, clock(step.took)));
    step
}

fn print_table(steps: &[Step], total: Duration) {
    let style = term::stdout();
    println!();
    for step in steps {
        let verdict = if step.passed { style.green("ok    ") } else { style.red("FAILED") };
        println!("  {verdict}  {:<9} {:>8}", step.name, clock(step.took));
    }
    println!("  {:<6}  {:<9} {:>8}", "", "total", clock(total));
}

fn clock(took: Duration) -> String {
    match took.as_secs() {
        0..60 => format!("{:.1} s", took.as_secs_f64()),
        seconds => format!("{}:{:02} min", seconds / 60, seconds % 60),
    }
}

fn fmt() -> Result<()> {
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let mut cargo = shell::cargo();
    cargo.args(["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]);
    shell::run(&mut cargo)
}

fn docs() -> Result<()> {
    let mut cargo = shell::cargo();
    cargo.args(["doc", "--workspace", "--no-deps", "--all-features"]).env("RUSTDOCFLAGS", "-Dwarnings");
    shell::run(&mut cargo)
}
