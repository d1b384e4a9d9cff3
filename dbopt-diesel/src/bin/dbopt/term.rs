//! What every command shows alike: colours on a terminal that wants them, plain text elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

/// <https://no-color.org>, and no colours into pipes and files.
pub(crate) fn wants_colour(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// How wide the terminal is, if stdout is one.
pub(crate) fn width() -> Option<u16> {
    std::io::stdout().is_terminal().then(crossterm::terminal::size)?.ok().map(|(width, _)| width)
}

/// Shown on stderr while something takes its time; nothing where that is no terminal.
pub(crate) fn spinner(message: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message.to_owned());
    let template = if wants_colour(&std::io::stderr()) {
        "{spinner:.cyan} {msg} {elapsed:.dim}"
    } else {
        "{spinner} {msg} {elapsed}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(80));
    spinner
}

/// An empty table for stdout, framed on a terminal.
pub(crate) fn table() -> Table {
    let mut table = Table::new();
    let terminal = std::io::stdout().is_terminal();
    table.load_style(if terminal { presets::UTF8_FULL_CONDENSED } else { presets::NOTHING });
    table.set_content_arrangement(ContentArrangement::Disabled);
    if wants_colour(&std::io::stdout()) {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

/// Its lines; a table for a pipe needs no padding at their ends.
pub(crate) fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
