//! What the terminal shows of a cluster.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{Attribute, Cell, CellAlignment, Color};
use owo_colors::OwoColorize;

use super::state::State;
use super::status::{NodeReport, RedisReport, Report};
use crate::term::{self, wants_colour};

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
    let mut table = term::table();
    let columns = ["node", "role", "follows", "state", "timeline", "lsn", "lag", "port", "url"];
    table.set_header(columns.map(|column| Cell::new(column).add_attribute(Attribute::Bold)));
    for node in &report.nodes {
        table.add_row(node_row(node));
    }
    if let Some(redis) = &report.redis {
        table.add_row(redis_row(redis));
    }
    term::lines(&table)
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
