//! The table and the texts of `dbopt advise`.

use comfy_table::{Cell, Color};
use dbopt_diesel::advise::{Advice, Report, Served, Verified};

use crate::migrate::{Paint, paint};
use crate::term;

/// So much of a statement is shown.
const SHOWN: usize = 110;

/// So many statements are shown for an index.
const SERVED: usize = 3;

pub(super) fn report(report: &Report, all: bool) -> String {
    let mut parts = Vec::new();
    if !report.missing.is_empty() {
        parts.push(missing(&report.missing));
        parts.extend(report.missing.iter().map(details));
    }
    if !report.unneeded.is_empty() {
        let mut table = term::table();
        table.set_header(["not needed", "table", "kind", "size", "why"]);
        for index in &report.unneeded {
            let colour = if index.kind == "invalid" { Color::Red } else { Color::Yellow };
            table.add_row([
                Cell::new(&index.name),
                Cell::new(&index.table),
                Cell::new(&index.kind).fg(colour),
                Cell::new(bytes(index.bytes)),
                Cell::new(&index.why),
            ]);
        }
        let drops: Vec<String> = report.unneeded.iter().map(|index| format!("{};", index.drop)).collect();
        parts.push(format!("{}\n{}", term::lines(&table), drops.join("\n")));
    }
    if all && !report.rejected.is_empty() {
        let lines: Vec<String> = report.rejected.iter().map(|one| format!("  {}: {}", one.index, one.why)).collect();
        parts.push(format!("thought of and rejected:\n{}", lines.join("\n")));
    }
    if all && !report.skipped.is_empty() {
        let lines: Vec<String> =
            report.skipped.iter().map(|one| format!("  {}: {}", short(&one.sql), one.why)).collect();
        parts.push(format!("not looked at:\n{}", lines.join("\n")));
    }
    if !report.notes.is_empty() {
        parts.push(report.notes.iter().map(|note| paint(note, Paint::Warning)).collect::<Vec<_>>().join("\n"));
    }
    parts.push(summary(report, all));
    parts.join("\n\n")
}

fn missing(missing: &[Advice]) -> String {
    let mut table = term::table();
    table.set_header(["missing", "serves", "cost before", "after", "size", "writes/s", "verified"]);
    for advice in missing {
        let first = advice.serves.first();
        let (verified, colour) = match &advice.verified {
            Verified::Hypopg => ("HypoPG", Color::Green),
            Verified::Scratch => ("built on the copy", Color::Green),
            Verified::Nobody(_) => ("no", Color::Yellow),
        };
        table.add_row([
            Cell::new(&advice.index).fg(Color::Cyan),
            Cell::new(advice.serves.len()),
            Cell::new(first.map_or(String::new(), |served| format!("{:.0}", served.before))),
            Cell::new(first.and_then(|served| served.after).map_or("?".to_owned(), |after| format!("{after:.0}"))),
            Cell::new(bytes(advice.size_bytes as f64)),
            Cell::new(format!("{:.1}", advice.writes_per_second)),
            Cell::new(verified).fg(colour),
        ]);
    }
    term::lines(&table)
}

fn details(advice: &Advice) -> String {
    let mut text = format!("{};\n  for {}", paint(&advice.create, Paint::Good), advice.why);
    for served in advice.serves.iter().take(SERVED) {
        text.push_str(&format!("\n  {}", statement(served)));
    }
    if let Verified::Nobody(why) = &advice.verified {
        text.push_str(&format!("\n  {}", paint(&format!("unverified: {why}"), Paint::Warning)));
    }
    text
}

fn statement(served: &Served) -> String {
    let places: Vec<String> = served
        .places
        .iter()
        .map(|place| place.at.as_ref().map_or_else(|| place.method.clone(), |at| format!("{} ({at})", place.method)))
        .collect();
    let by = if places.is_empty() { String::new() } else { format!("{}: ", places.join(", ")) };
    format!("{by}{}", short(&served.sql))
}

fn summary(report: &Report, all: bool) -> String {
    let looked = format!("{} statements looked at", report.statements);
    let skipped = match report.skipped.len() {
        0 => String::new(),
        n if all => format!(", {n} could not be"),
        n => format!(", {n} could not be (--all shows them)"),
    };
    if report.is_clean() {
        return paint(&format!("nothing to do: {looked}{skipped}"), Paint::Good);
    }
    let (missing, unneeded) = (report.missing.len(), report.unneeded.len());
    paint(&format!("{missing} missing, {unneeded} not needed: {looked}{skipped}"), Paint::Warning)
}

fn short(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SHOWN { line } else { line.chars().take(SHOWN - 1).chain(['…']).collect() }
}

fn bytes(bytes: f64) -> String {
    match bytes {
        bytes if bytes >= 1e9 => format!("{:.1} GB", bytes / 1e9),
        bytes if bytes >= 1e6 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.0} kB", bytes / 1e3),
    }
}
