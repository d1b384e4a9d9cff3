//! What the terminal shows of a cache.

use comfy_table::{Attribute, Cell, CellAlignment, Color};
use dbopt_diesel::core::position::Position;
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::term::{self, wants_colour};

#[derive(Serialize)]
pub(super) struct Stats {
    pub(super) redis: String,
    pub(super) namespace: String,
    pub(super) values: u64,
    pub(super) tags: u64,
    pub(super) server_memory_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entries: Option<Vec<String>>,
}

pub(super) fn stats(stats: &Stats) -> String {
    let mut table = term::table();
    let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let name = |text: &str| Cell::new(text).add_attribute(Attribute::Bold);
    table.add_row([name("redis"), number(stats.redis.clone()).fg(Color::Green)]);
    table.add_row([name("namespace"), number(stats.namespace.clone())]);
    table.add_row([name("results"), number(stats.values.to_string())]);
    table.add_row([name("tags"), number(stats.tags.to_string())]);
    table.add_row([name("memory of the server"), number(bytes(stats.server_memory_bytes))]);
    let mut text = term::lines(&table);
    for entry in stats.entries.iter().flatten() {
        text.push_str("\n  ");
        text.push_str(entry);
    }
    if stats.entries.as_ref().is_some_and(Vec::is_empty) {
        text.push_str("\n  no result of that method");
    }
    text
}

/// `invalidated 2 tags, as of 1-0/16B3748`.
pub(super) fn done(did: &str, count: u64, [one, many]: [&str; 2], position: Option<Position>) -> String {
    let count = format!("{count} {}", if count == 1 { one } else { many });
    let did = if wants_colour(&std::io::stdout()) { did.green().bold().to_string() } else { did.to_owned() };
    format!("{did} {count}{}", as_of(position))
}

pub(super) fn cleared(namespace: &str, position: Option<Position>) -> String {
    let did =
        if wants_colour(&std::io::stdout()) { "cleared".green().bold().to_string() } else { "cleared".to_owned() };
    format!("{did} the namespace {namespace}{}", as_of(position))
}

fn as_of(position: Option<Position>) -> String {
    position.map_or(String::new(), |position| format!(", as of {position}"))
}

fn bytes(count: u64) -> String {
    let (mut size, mut unit) = (count as f64, "B");
    for next in ["KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, next);
    }
    if unit == "B" { format!("{count} B") } else { format!("{size:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!([bytes(7), bytes(1536), bytes(5 << 30)], ["7 B", "1.5 KiB", "5.0 GiB"]);
    }
}
