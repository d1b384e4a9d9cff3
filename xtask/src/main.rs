//! The developer's commands: `cargo xtask help`.

// This program measures and waits in real time; the rule is for code that runs under a test's clock.
#![allow(clippy::disallowed_methods)]

mod bench;
mod book;
mod ci;
mod criteria;
mod dashboard;
mod demo;
mod failover;
mod imports;
mod licences;
mod load;
mod monitor;
mod patroni;
mod setup;
mod shell;
mod source;
mod stale;
mod term;
mod test;
mod vendor;

use anyhow::{Result, bail};
use std::process::ExitCode;

struct Command {
    name: &'static str,
    arguments: &'static str,
    summary: &'static str,
    details: &'static str,
    run: fn(&[String]) -> Result<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        arguments: "[--once] [--seconds N] [--json FILE]",
        summary: "start a cluster and the `flights` example, send traffic, show what happened",
        details: "\
Installs PostgreSQL and Redis if they are missing, builds the example, starts a primary, three replicas and Redis on
free ports, and drives HTTP traffic at it. Everything it started ends with it (Ctrl-C).

  --once        end after the table of results
  --seconds N   how long to send traffic
  --json FILE   write the figures to FILE

Further arguments are passed on to the demo program.",
        run: demo::run,
    },
    Command {
        name: "load",
        arguments: "[--url URL] [--rate N] [--for TIME] [--connections N] [--writes N] [--json FILE]",
        summary: "send requests to `flights` at a rate, and tell how long they took",
        details: "\
Requests are sent when they are due, whether or not earlier ones are answered, and latencies are counted from that moment: while
the service stands still, everybody who would have asked counts as waiting. Beside it, the time from the moment a request was sent.
Without --url a cluster and the service are started on free ports, and ended afterwards. Ends with exit code 1 if a request failed.

  --url URL        where a `flights` service listens
  --rate N         requests in a second (500)
  --for TIME       for how long (30s)
  --connections N  how many requests may be under way at once (64)
  --writes N       how many of 100 requests write (10)
  --json FILE      write the figures to FILE",
        run: load::run,
    },
    Command {
        name: "monitor",
        arguments: "[--once] [--seconds N]",
        summary: "the demo with Prometheus and Alertmanager beside it, on the files of examples/monitoring",
        details: "\
Installs Debian's Prometheus and Alertmanager if they are missing (their services are not started), starts them and the
demo on free ports, prints where to look, and tells of alerts as they come. Everything it started ends with it (Ctrl-C).

  --once        check that targets are up, every rule is evaluated and every panel of both Grafana dashboards has data;
                print it, and end with exit code 1 if something is missing
  --seconds N   end after so long; with --once: how long everything may take (default 90)",
        run: monitor::run,
    },
    Command {
        name: "test",
        arguments: "[-p PACKAGE] [--no-capture] [filter..]",
        summary: "run the tests and doctests, against real servers",
        details: "\
Uses cargo-nextest if it is installed, cargo test otherwise. A filter is a part of a test's name. With a filter
or a package, doctests are left out.

  -p PACKAGE     the tests of one package (repeatable)
  --no-capture   show what the tests print

  cargo xtask test r03                     the tests of requirement R3
  cargo xtask test --no-capture r04_2_     one test, with its output
  RUST_LOG=dbopt=debug cargo xtask test --no-capture r04_2_",
        run: test::run,
    },
    Command {
        name: "bench",
        arguments: "[name] [-- args..]",
        summary: "run the benchmarks, or one of them",
        details: "Further arguments after `--` are passed on to the benchmark.",
        run: bench::run,
    },
    Command {
        name: "stale",
        arguments: "[--minutes N] [--fault NAME] [--baseline] [--seed N] [--json FILE]",
        summary: "look for cached reads that are older than an acknowledged write, while things break",
        details: "\
Three processes write and read cached registers on a primary, three replicas and Redis, while replicas lag, Redis is killed,
frozen, emptied, filled up and cut off, and processes are killed. A judge decides from the history whether anybody was shown
something older than dbopt promises. Ends with exit code 1 if so, or if too little was answered from the cache for that to
mean something.

  --minutes N    how long to go on
  --operations N how many operations to make
  --fault NAME   only this fault, again and again
  --baseline     judge a plain cache-aside instead (it fails)
  --seed N       what chance begins with
  --json FILE    write the figures to FILE

  cargo xtask stale -- --help shows them all, with the names of the faults.",
        run: stale::run,
    },
    Command {
        name: "dashboard",
        arguments: "[--serve] [--shots FOLDER] [--browser FILE]",
        summary: "look at the dashboard in a browser, in four states of a cluster",
        details: "\
Starts a cluster, drives traffic at it, and opens the page in headless Chromium while all is well, while a replica lags,
without Redis and without a primary: what it says, every link, chart and node, both sets of colours, the width of a phone.
Pictures are left in target/dashboard. Needs node, npm and Chromium (Debian: apt-get install chromium nodejs npm).

  --serve         serve the page of a cluster under traffic until Ctrl-C, without a browser
  --shots FOLDER  where the pictures go
  --browser FILE  the browser",
        run: dashboard::run,
    },
    Command {
        name: "vendor",
        arguments: "[--check]",
        summary: "fetch the chart library of the dashboard from npm, or compare it with what npm has",
        details: "\
The version and its checksum stand in tests/dashboard/package-lock.json; npm verifies them.

  --check   change nothing; fail if a file is not as it was published",
        run: vendor::run,
    },
    Command {
        name: "failover",
        arguments: "[--runs N] [--fault kill|freeze] [--writers N] [--asynchronous]",
        summary: "kill and freeze the primary of a supervised cluster under writers, and judge what they were told",
        details: "\
Each run starts a primary, three replicas, writers and a coordinator. Ends with exit code 1 if a write was acknowledged and
lost, if the old primary acknowledged one afterwards, if there is more than one new timeline, or if the old primary does not
come back as a replica. With --asynchronous losses are counted and allowed.",
        run: failover::run,
    },
    Command {
        name: "patroni",
        arguments: "[--version N] [filter..]",
        summary: "run the tests that are left out elsewhere: applications on the real Patroni and etcd",
        details: "\
Installs etcd-server (Debian) and Patroni (PyPI, each version into a folder of its own in the cache) if they are missing;
nothing is started as a service. Each test starts etcd and three members on free ports and takes one to three minutes: a leader
is replaced when its lock ends, after 20 s. What is measured is printed. A filter is a part of a test's name. Without one, and
without --version, all run with 4.1.4, some with 3.3.11, and with 3.0.2 that its danger is told.",
        run: patroni::run,
    },
    Command {
        name: "ci",
        arguments: "",
        summary: "everything that has to hold before a change is merged (.ci/run)",
        details: "\
Formatting, import directions, criteria, book, licences, clippy, documentation, tests. A failing step does not hide the
ones after it.",
        run: ci::run,
    },
    Command {
        name: "criteria",
        arguments: "[--missing]",
        summary: "the 60 criteria of the requirements and the tests that show each",
        details: "\
A test shows criterion 7.3 when its name starts with `r07_3_`. Ignored tests are listed but show nothing. A name that
matches no criterion, or that two tests share, is an error.

  --missing   only the criteria that no test shows yet",
        run: criteria::run,
    },
    Command {
        name: "imports",
        arguments: "",
        summary: "check that rooms and crates import only what lies below them",
        details: "\
The rows are in xtask/src/imports/rooms.rs and drawn in ARCHITECTURE.md. Unit tests obey the same rules as the code
beside them: a test that needs more than its own room belongs in tests/.",
        run: imports::run,
    },
    Command {
        name: "book",
        arguments: "",
        summary: "check links and code of the guide and the top-level pages; build it if mdbook is here",
        details: "",
        run: book::run,
    },
    Command {
        name: "licences",
        arguments: "",
        summary: "check every dependency's licence and source against deny.toml",
        details: "Uses cargo-deny if it is installed; otherwise reads the allow list of deny.toml itself.",
        run: licences::run,
    },
    Command {
        name: "setup",
        arguments: "",
        summary: "find PostgreSQL and Redis, or install them (Debian, Ubuntu)",
        details: "\
Looks at DBOPT_PG_BIN (a folder), DBOPT_REDIS_SERVER (a file), PATH, /usr/lib/postgresql/*/bin, `pg_config --bindir` and
Homebrew. What is missing is installed by apt-get, as root or through sudo, without creating or starting any server.
On other systems it says what to install.",
        run: setup::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error:#}", term::stderr().red("error:"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        print_overview();
        bail!("a command is missing");
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        match rest.first() {
            Some(name) => print_details(find(name)?),
            None => print_overview(),
        }
        return Ok(());
    }
    let command = find(name)?;
    let own = rest.iter().take_while(|argument| *argument != "--");
    if own.into_iter().any(|argument| argument == "--help" || argument == "-h") {
        print_details(command);
        return Ok(());
    }
    (command.run)(rest)
}

fn find(name: &str) -> Result<&'static Command> {
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => Ok(command),
        None => bail!("there is no command `{name}`; `cargo xtask help` lists them"),
    }
}

fn print_overview() {
    let style = term::stdout();
    println!("The developer's commands of dbopt\n\n{} cargo xtask <command>\n", style.bold("Usage:"));
    for command in COMMANDS {
        println!("  {}  {}", style.bold(&format!("{:<9}", command.name)), command.summary);
    }
    println!("\n`cargo xtask help <command>` says more. New here? `cargo xtask demo`, then `cargo xtask test`.");
}

fn print_details(command: &Command) {
    let style = term::stdout();
    let usage = format!("cargo xtask {} {}", command.name, command.arguments);
    println!("{} {}\n\n{}", style.bold("Usage:"), usage.trim_end(), capitalised(command.summary));
    if !command.details.is_empty() {
        println!("\n{}", command.details);
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Refuses arguments for a command that takes none.
fn no_arguments(command: &str, arguments: &[String]) -> Result<()> {
    match arguments.first() {
        None => Ok(()),
        Some(extra) => bail!("`cargo xtask {command}` takes no argument `{extra}`"),
    }
}
