//! What the demo shows at its end: as tables for people, as JSON for programs.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use flights::traffic::Report;
use serde::{Deserialize, Serialize};

/// What the admin port tells.
#[derive(Deserialize)]
pub(crate) struct Metrics {
    nodes: Vec<Node>,
    cache: Cache,
}

/// Calls per lane on one node: those that reached the database.
#[derive(Deserialize)]
struct Node {
    name: String,
    role: Option<String>,
    calls: BTreeMap<String, u64>,
}

impl Node {
    fn calls(&self, lane: &str) -> u64 {
        self.calls.get(lane).copied().unwrap_or(0)
    }
}

#[derive(Deserialize)]
struct Cache {
    l1_hits: u64,
    l1_misses: u64,
    l2_hits: u64,
    l2_misses: u64,
    loads: u64,
    shared_loads: u64,
    invalidations: u64,
}

impl Cache {
    fn l1_hit_percent(&self) -> f64 {
        percent(self.l1_hits, self.l1_misses)
    }

    fn l2_hit_percent(&self) -> f64 {
        percent(self.l2_hits, self.l2_misses)
    }
}

/// With one decimal.
fn percent(hits: u64, misses: u64) -> f64 {
    (1000.0 * hits as f64 / (hits + misses).max(1) as f64).round() / 10.0
}

/// What `--json` writes of the cache.
#[derive(Serialize)]
struct CacheFigures {
    l1_hit_percent: f64,
    l2_hit_percent: f64,
    loads: u64,
    invalidations: u64,
    stale: u64,
}

/// What `--json` writes.
#[derive(Serialize)]
pub(crate) struct Figures<'a> {
    reads: BTreeMap<&'a str, u64>,
    writes: BTreeMap<&'a str, u64>,
    critical: BTreeMap<&'a str, u64>,
    errors: u64,
    stale_reads: u64,
    read_p50_us: u64,
    read_p99_us: u64,
    write_p99_us: u64,
    cache: CacheFigures,
}

impl<'a> Figures<'a> {
    pub(crate) fn new(Metrics { nodes, cache }: &'a Metrics, report: &Report) -> Self {
        let lane = |lane| nodes.iter().map(|node| (node.name.as_str(), node.calls(lane))).collect();
        Figures {
            reads: lane("read"),
            writes: lane("write"),
            critical: lane("critical"),
            errors: report.errors,
            stale_reads: report.stale_reads,
            read_p50_us: report.read_p50_us,
            read_p99_us: report.read_p99_us,
            write_p99_us: report.write_p99_us,
            cache: CacheFigures {
                l1_hit_percent: cache.l1_hit_percent(),
                l2_hit_percent: cache.l2_hit_percent(),
                loads: cache.loads,
                invalidations: cache.invalidations,
                stale: report.stale_reads,
            },
        }
    }
}

/// The tables.
pub(crate) fn figures(Metrics { nodes, cache }: &Metrics, report: &Report) -> String {
    let mut calls = table(["node", "role", "read", "write", "critical"]);
    for node in nodes {
        let role = node.role.as_deref().unwrap_or("unknown");
        let lanes = ["read", "write", "critical"].map(|lane| node.calls(lane).to_string());
        calls.add_row([&[node.name.clone(), role.to_owned()], &lanes[..]].concat());
    }
    let mut cached = table(["cache", ""]);
    cached.add_row(["answered from memory".to_owned(), format!("{:.1} %", cache.l1_hit_percent())]);
    cached.add_row(["  of the rest, from Redis".to_owned(), format!("{:.1} %", cache.l2_hit_percent())]);
    cached.add_row(["loaded from the database".to_owned(), cache.loads.to_string()]);
    cached.add_row(["  for others too, who asked meanwhile".to_owned(), cache.shared_loads.to_string()]);
    cached.add_row(["invalidations".to_owned(), cache.invalidations.to_string()]);
    let milliseconds = |micros: u64| format!("{:.1} ms", micros as f64 / 1000.0);
    let mut users = table(["what the users saw", ""]);
    users.add_row(["reads".to_owned(), report.reads.to_string()]);
    users.add_row(["  half of them within".to_owned(), milliseconds(report.read_p50_us)]);
    users.add_row(["  99 of 100 within".to_owned(), milliseconds(report.read_p99_us)]);
    users.add_row(["delays and cancellations".to_owned(), report.writes.to_string()]);
    users.add_row(["  99 of 100 within".to_owned(), milliseconds(report.write_p99_us)]);
    users.add_row(["bookings".to_owned(), report.criticals.to_string()]);
    users.add_row(["errors".to_owned(), report.errors.to_string()]);
    users.add_row(["reads after own writes, stale".to_owned(), report.stale_reads.to_string()]);
    let samples: String = report.error_samples.iter().map(|sample| format!("  {sample}\n")).collect();
    format!("\nCalls that reached the database, per node and lane\n{calls}\n\n{cached}\n\n{users}\n{samples}")
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    let numbers = table.column_iter_mut().skip(if N > 2 { 2 } else { 1 });
    numbers.for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}
