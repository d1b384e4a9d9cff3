//! `cargo xtask test`: all tests, by cargo-nextest or cargo test.

use crate::shell::{self, Output};
use crate::{setup, term};
use anyhow::{Result, bail};
use std::io::IsTerminal;
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let selection = Selection::parse(arguments)?;
    let outcome = run_tests(&selection)?;
    outcome.print_closing_line();
    outcome.into_result()
}

/// Everything, with `closing_line` left to the caller, who may have more to say before it.
pub(crate) fn run_all() -> Result<Outcome> {
    run_tests(&Selection::default())
}

#[derive(Debug, Default, PartialEq)]
struct Selection {
    packages: Vec<String>,
    filters: Vec<String>,
    no_capture: bool,
}

impl Selection {
    fn parse(arguments: &[String]) -> Result<Selection> {
        let mut selection = Selection::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "-p" | "--package" => match arguments.next() {
                    Some(package) => selection.packages.push(package.clone()),
                    None => bail!("{argument} needs a package's name"),
                },
                "--no-capture" | "--nocapture" => selection.no_capture = true,
                "--" => {}
                option if option.starts_with('-') => bail!("unknown option {option}; see `cargo xtask help test`"),
                filter => selection.filters.push(filter.to_owned()),
            }
        }
        Ok(selection)
    }

    /// Doctests belong to the whole; who asks for a part wants that part only, and soon.
    fn is_narrowed(&self) -> bool {
        !(self.packages.is_empty() && self.filters.is_empty())
    }

    /// The same features in every step and in clippy: what is compiled once is used by all.
    fn add_packages(&self, cargo: &mut Command) {
        match self.packages.as_slice() {
            [] => cargo.arg("--workspace"),
            packages => cargo.args(packages.iter().flat_map(|package| ["-p", package])),
        };
        cargo.arg("--all-features");
    }
}

pub(crate) struct Outcome {
    passed: bool,
    closing_line: Option<String>,
}

impl Outcome {
    /// What a test runner says last.
    pub(crate) fn print_closing_line(&self) {
        if let Some(line) = &self.closing_line {
            println!("{line}");
        }
    }

    pub(crate) fn passed(&self) -> bool {
        self.passed
    }

    fn into_result(self) -> Result<()> {
        if self.passed { Ok(()) } else { bail!("tests failed") }
    }
}

fn run_tests(selection: &Selection) -> Result<Outcome> {
    setup::ensure()?;
    if shell::has_cargo_command("nextest") { nextest(selection) } else { cargo_test(selection) }
}

fn nextest(selection: &Selection) -> Result<Outcome> {
    // Doctests, which nextest does not run, go first: nextest's summary is the one to end with.
    let doctests = selection.is_narrowed() || {
        let mut cargo = shell::cargo();
        cargo.args(["test", "--doc"]);
        selection.add_packages(&mut cargo);
        shell::announce(&cargo);
        cargo.status()?.success()
    };
    let mut cargo = shell::cargo();
    cargo.args(["nextest", "run", "--no-fail-fast"]);
    use_memory_for_temporary_files(&mut cargo);
    selection.add_packages(&mut cargo);
    if selection.no_capture {
        cargo.arg("--no-capture");
    }
    cargo.args(&selection.filters);
    if std::io::stderr().is_terminal() {
        shell::announce(&cargo);
        let passed = cargo.status()?.success();
        return Ok(Outcome { passed: doctests && passed, closing_line: None });
    }
    let mut closing_line = None;
    let passed = shell::run_watched(&mut cargo, Output::Stderr, |line| {
        if line.trim_start().starts_with("Summary [") {
            closing_line = Some(line.trim_start().to_owned());
        }
    })?;
    Ok(Outcome { passed: doctests && passed, closing_line })
}

fn cargo_test(selection: &Selection) -> Result<Outcome> {
    let mut cargo = shell::cargo();
    cargo.args(["test", "--no-fail-fast"]);
    use_memory_for_temporary_files(&mut cargo);
    selection.add_packages(&mut cargo);
    if selection.is_narrowed() {
        cargo.arg("--tests");
    }
    // Tests that start clusters are heavy; nextest's configuration says the same more finely.
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        let processors = std::thread::available_parallelism().map_or(2, |number| number.get());
        cargo.env("RUST_TEST_THREADS", processors.clamp(2, 4).to_string());
    }
    cargo.arg("--").args(&selection.filters);
    if selection.no_capture {
        cargo.arg("--nocapture");
    }
    if term::stdout().has_colours() {
        cargo.arg("--color=always");
    }
    let started = Instant::now();
    let mut totals = Totals::default();
    let passed = shell::run_watched(&mut cargo, Output::Stdout, |line| totals.add(line))?;
    Ok(Outcome { passed, closing_line: Some(totals.line(passed, started.elapsed())) })
}

/// Clusters consist of thousands of small files that live for seconds: in memory they start several times as fast.
fn use_memory_for_temporary_files(cargo: &mut Command) {
    const NEEDED_KIB: u64 = 4 * 1024 * 1024;
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let usable = mounts.lines().any(|mount| {
        let mut fields = mount.split(' ').skip(1);
        let (folder, kind, options) = (fields.next(), fields.next(), fields.next().unwrap_or_default());
        // Doctests are run from there.
        folder == Some("/dev/shm") && kind == Some("tmpfs") && !options.split(',').any(|option| option == "noexec")
    });
    let free = || {
        let table = shell::read(Command::new("df").args(["-Pk", "/dev/shm"])).ok()?;
        table.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>().ok()
    };
    if std::env::var_os("TMPDIR").is_none() && usable && free().is_some_and(|free| free >= NEEDED_KIB) {
        cargo.env("TMPDIR", "/dev/shm");
    }
}

/// The sum of what each test program reports.
#[derive(Debug, Default, PartialEq)]
struct Totals {
    passed: u64,
    failed: u64,
    ignored: u64,
    measured: u64,
    filtered_out: u64,
}

impl Totals {
    /// Counts a line like `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`.
    fn add(&mut self, line: &str) {
        let Some((_, result)) = line.split_once("test result: ") else { return };
        let counts = result.split_once(". ").map_or(result, |(_, counts)| counts);
        for count in counts.split(';') {
            let Some((number, what)) = count.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                "measured" => self.measured += number,
                "filtered out" => self.filtered_out += number,
                _ => {}
            }
        }
    }

    fn line(&self, passed: bool, took: Duration) -> String {
        let Totals { passed: good, failed, ignored, measured, filtered_out } = self;
        let verdict = if passed { "ok" } else { "FAILED" };
        format!(
            "\nAll tests together:\ntest result: {verdict}. {good} passed; {failed} failed; {ignored} ignored; \
             {measured} measured; {filtered_out} filtered out; finished in {:.2}s",
            took.as_secs_f64()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn results_of_several_programs_add_up() {
        let mut totals = Totals::default();
        totals.add("running 5 tests");
        totals.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 1 filtered out; finished in 0.01s");
        totals.add(
            "test result: \u{1b}[31mFAILED\u{1b}(B\u{1b}[m. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
        );
        assert_eq!(totals, Totals { passed: 5, failed: 1, ignored: 1, measured: 0, filtered_out: 1 });
        let line = totals.line(false, Duration::from_millis(1500));
        assert!(line.ends_with(
            "test result: FAILED. 5 passed; 1 failed; 1 ignored; 0 measured; 1 filtered out; finished in 1.50s"
        ));
    }

    #[test]
    fn packages_filters_and_capture_are_told_apart() {
        let selection = Selection::parse(&words("-p dbopt-core r03 --no-capture r04")).unwrap();
        let expected = Selection { packages: words("dbopt-core"), filters: words("r03 r04"), no_capture: true };
        assert_eq!(selection, expected);
        assert!(Selection::parse(&words("--release")).is_err());
        assert!(Selection::parse(&words("-p")).is_err());
    }
}
