//! Tables and texts of `dbopt migrate`.

use std::io::stdout;
use std::time::Duration;

use comfy_table::{Cell, Color};
use dbopt_diesel::core::schema::history::{Entry, Outcome, vouching};
use dbopt_diesel::core::schema::loss::losses;
use dbopt_diesel::core::schema::migration::{Direction, Migration, Mode};
use dbopt_diesel::core::schema::plan::State;
use dbopt_diesel::migrate::{Report, Status};
use owo_colors::OwoColorize;
use serde_json::json;

use crate::term::{self, wants_colour};

pub(super) fn status(status: &Status) -> String {
    let mut table = term::table();
    table.set_header(["version", "migration", "state", "when", "took", "by"]);
    for line in &status.plan.lines {
        let entry = vouching(&status.history, &line.version).filter(|_| !line.state.is_pending());
        let colour = match line.state {
            State::Applied => Color::Green,
            State::Pending | State::OutOfOrder => Color::Yellow,
            State::Edited | State::Missing | State::HalfBack => Color::Red,
        };
        let adopted = entry.is_some_and(|entry| entry.outcome == Outcome::Adopted);
        let known = entry.filter(|_| !adopted);
        table.add_row([
            Cell::new(&line.version),
            Cell::new(line.name.split_once('_').map_or(line.name.as_str(), |(_, name)| name)),
            Cell::new(line.state.name()).fg(colour),
            Cell::new(known.map_or(if adopted { "before this history" } else { "" }, |entry| entry.at.as_str())),
            Cell::new(known.map_or(String::new(), |entry| took(entry.took))),
            Cell::new(known.map_or("", |entry| entry.by.as_str())),
        ]);
    }
    let pending = status.plan.pending().count();
    let mut text = term::lines(&table);
    text.push_str(&format!("\n{}: ", status.server));
    text.push_str(&match (status.plan.drift.len(), pending) {
        (0, _) if status.plan.half_back().next().is_some() => {
            paint("one is half taken back; `dbopt migrate down` goes on with that", Paint::Bad)
        }
        (0, 0) => paint("everything is applied", Paint::Good),
        (0, n) => paint(&format!("{n} pending; `dbopt migrate plan` shows them, `up` applies them"), Paint::Warning),
        (n, _) => paint(&format!("{n} not as applied; nothing will be run until that is settled"), Paint::Bad),
    });
    for drift in &status.plan.drift {
        text.push_str(&format!("\n\n{}\n{}", drift.file, coloured_diff(&drift.diff)));
    }
    text
}

fn coloured_diff(diff: &str) -> String {
    let line = |line: &str| match line.chars().next() {
        Some('+') => paint(line, Paint::Good),
        Some('-') => paint(line, Paint::Bad),
        _ => line.to_owned(),
    };
    diff.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[derive(Clone, Copy)]
pub(crate) enum Paint {
    Good,
    Warning,
    Bad,
}

pub(crate) fn paint(text: &str, paint: Paint) -> String {
    if !wants_colour(&stdout()) {
        return text.to_owned();
    }
    match paint {
        Paint::Good => text.green().to_string(),
        Paint::Warning => text.yellow().to_string(),
        Paint::Bad => text.red().to_string(),
    }
}

pub(super) fn status_json(status: &Status) -> serde_json::Result<String> {
    let lines = status.plan.lines.iter().map(|line| {
        let state = line.state.name().to_lowercase();
        json!({ "version": line.version, "name": line.name, "state": state, "pending": line.state.is_pending() })
    });
    let drift: Vec<_> = status.plan.drift.iter().map(|d| json!({ "version": d.version, "diff": d.diff })).collect();
    let all = json!({ "server": status.server, "migrations": lines.collect::<Vec<_>>(), "drift": drift });
    serde_json::to_string_pretty(&all)
}

/// Goes to stderr, so that the SQL on stdout can be kept.
pub(super) fn plan(pending: &[&Migration], status: &Status) -> String {
    let mut table = term::table();
    table.set_header(["version", "migration", "statements", "runs", "back", "loses"]);
    for migration in pending {
        let Ok((script, mode)) = migration.script(Direction::Up) else { continue };
        let runs = match &mode {
            Mode::Transaction => "in a transaction".to_owned(),
            Mode::Alone(what) => what.name().to_owned(),
        };
        let back = if migration.down.is_some() { "down.sql" } else { "MISSING" };
        let lost = losses(&script).into_iter().map(|loss| loss.what).collect::<Vec<_>>().join(", ");
        table.add_row([
            migration.version.as_str(),
            migration.name.split_once('_').map_or("", |(_, name)| name),
            &script.statements().len().to_string(),
            &runs,
            back,
            &lost,
        ]);
    }
    let what = match pending.len() {
        0 => format!("{}: everything is applied", status.server),
        n => format!("{}: {n} to be applied", status.server),
    };
    if pending.is_empty() { what } else { format!("{}\n{what}", term::lines(&table)) }
}

pub(super) fn script(migration: &Migration, direction: Direction) -> String {
    let head = format!("-- {}", migration.file(direction));
    let head = if wants_colour(&stdout()) { head.cyan().to_string() } else { head };
    format!("{head}\n{}\n", migration.sql(direction).unwrap_or("-- there is none").trim_end())
}

pub(super) fn report(report: &Report, nothing: &str) -> String {
    if report.ran.is_empty() {
        return paint(nothing, Paint::Good);
    }
    let total: Duration = report.ran.iter().map(|ran| ran.took).sum();
    let count = report.ran.len();
    let what = if count == 1 { "migration" } else { "migrations" };
    let mut text = format!("{count} {what} in {} on {}", took(total), report.server);
    for backup in &report.backups {
        text.push_str(&format!("\ncopied what was lost: {backup}"));
    }
    paint(&text, Paint::Good)
}

pub(super) fn history(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "nothing was run yet".to_owned();
    }
    let mut table = term::table();
    table.set_header(["when", "version", "migration", "", "outcome", "took", "by", "server", "receipt"]);
    for entry in entries {
        let colour = match entry.outcome {
            Outcome::Applied | Outcome::Adopted => Color::Green,
            Outcome::Reverted | Outcome::Accepted | Outcome::Started => Color::Yellow,
            Outcome::Failed => Color::Red,
        };
        table.add_row([
            Cell::new(&entry.at),
            Cell::new(&entry.version),
            Cell::new(entry.name.split_once('_').map_or(entry.name.as_str(), |(_, name)| name)),
            Cell::new(&entry.direction),
            Cell::new(entry.outcome.name()).fg(colour),
            Cell::new(took(entry.took)),
            Cell::new(&entry.by),
            // Its version and timeline are in --json.
            Cell::new(entry.server.split(',').next().unwrap_or_default()),
            Cell::new(entry.receipt.as_deref().unwrap_or("")),
        ]);
    }
    let mut text = term::lines(&table);
    let last = entries.last().and_then(|entry| entry.error.as_deref());
    if let Some(error) = last {
        text.push_str(&format!("\n\n{}", paint(error, Paint::Bad)));
    }
    text
}

pub(super) fn history_json(entries: &[Entry]) -> serde_json::Result<String> {
    let all: Vec<_> = entries
        .iter()
        .map(|e| {
            json!({
                "id": e.id, "version": e.version, "name": e.name, "direction": e.direction, "outcome": e.outcome.name(),
                "up_checksum": e.up_checksum, "down_checksum": e.down_checksum, "by": e.by, "at": e.at,
                "took_ms": e.took.as_millis() as u64, "server": e.server, "receipt": e.receipt, "error": e.error,
            })
        })
        .collect();
    serde_json::to_string_pretty(&all)
}

pub(super) fn took(took: Duration) -> String {
    match took.as_millis() {
        0..10_000 => format!("{} ms", took.as_millis()),
        10_000..600_000 => format!("{:.1} s", took.as_secs_f64()),
        _ => format!("{} min", took.as_secs() / 60),
    }
}
