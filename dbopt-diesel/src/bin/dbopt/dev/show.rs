//! What the terminal shows: a spinner and colours on a terminal that wants them, plain text elsewhere.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;

use super::state::State;
use super::status::{NodeReport, RedisReport, Report};

/// Shown on stderr while something takes its time; nothing where that is no terminal.
pub(super) fn spinner(message: &str) -> ProgressBar {
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

/// After a start: the servers, and what to paste.
pub(super) fn started(state: &State, report: &Report) -> String {
    let seconds = Duration::from_millis(u64::try_from(state.started_in_ms).unwrap_or_default()).as_secs_f64();
    let headline = format!("ready in {seconds:.2} s");
    let headline = if wants_colour(&std::io::stdout()) { headline.green().bold().to_string() } else { headline };
    format!("{headline}, data in {}\n\n{}\n\n{}", state.dir.0.display(), table(report), environment(state))
}

/// The lines that point an application to the cluster.
pub(super) fn environment(state: &State) -> String {
    let mut text = String::new();
    if let Some((primary, replicas)) = state.nodes.split_first() {
        let replicas: Vec<&str> = replicas.iter().map(|replica| replica.url.as_str()).collect();
        let _ = writeln!(text, "export DBOPT_DATABASE_URL={}", primary.url);
        if !replicas.is_empty() {
            let _ = writeln!(text, "export DBOPT_DATABASE_REPLICAS={}", replicas.join(","));
        }
    }
    if let Some(redis) = &state.redis {
        let _ = writeln!(text, "export DBOPT_CACHE_REDIS={}", redis.url);
    }
    text
}

pub(super) fn table(report: &Report) -> String {
    let mut table = Table::new();
    let terminal = std::io::stdout().is_terminal();
    table.load_style(if terminal { presets::UTF8_FULL_CONDENSED } else { presets::NOTHING });
    table.set_content_arrangement(ContentArrangement::Disabled);
    if wants_colour(&std::io::stdout()) {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let columns = ["node", "role", "follows", "state", "timeline", "lsn", "lag", "port", "url"];
    table.set_header(columns.map(|column| Cell::new(column).add_attribute(Attribute::Bold)));
    for node in &report.nodes {
        table.add_row(node_row(node));
    }
    if let Some(redis) = &report.redis {
        table.add_row(redis_row(redis));
    }
    // A table for a pipe needs no padding at the ends of its lines.
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn node_row(node: &NodeReport) -> Vec<Cell> {
    let healthy = node.answers && matches!(node.state.as_str(), "ready" | "streaming");
    let number = |text: Option<String>| dash(text).set_alignment(CellAlignment::Right);
    let role = Cell::new(node.role.unwrap_or("unknown"));
    vec![
        Cell::new(&node.name).add_attribute(Attribute::Bold),
        if node.role == Some("primary") { role.fg(Color::Cyan) } else { role },
        dash(node.upstream.clone()),
        state(&node.state, healthy),
        number(node.timeline.map(|timeline| timeline.to_string())),
        dash(node.lsn.clone()),
        number(node.lag_bytes.map(|lag| format!("{lag} B"))),
        number(Some(node.port.to_string())),
        Cell::new(&node.url),
    ]
}

fn redis_row(redis: &RedisReport) -> Vec<Cell> {
    let (none, port) = (|| dash(None), Cell::new(redis.port).set_alignment(CellAlignment::Right));
    let state = state(if redis.answers { "ready" } else { "no answer" }, redis.answers);
    let number = || dash(None).set_alignment(CellAlignment::Right);
    vec![
        Cell::new("redis").add_attribute(Attribute::Bold),
        Cell::new("cache"),
        none(),
        state,
        number(),
        none(),
        number(),
        port,
        Cell::new(&redis.url),
    ]
}

fn state(text: &str, healthy: bool) -> Cell {
    Cell::new(text).fg(if healthy { Color::Green } else { Color::Red })
}

fn dash(text: Option<String>) -> Cell {
    Cell::new(text.as_deref().unwrap_or("-"))
}

/// <https://no-color.org>, and no colours into pipes and files.
fn wants_colour(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
