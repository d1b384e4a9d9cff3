//! What came of it, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::history::{Method, Record};
use super::judge::{Rule, Violation, judge};
use super::worker::Figures;

/// The phases in which nothing is wrong.
pub(crate) const CALM: &str = "calm";
/// In calm phases at least this share of the reads that may be cached must not have read the database; otherwise there is nothing to be stale.
const LEAST_HITS: f64 = 0.3;
/// Violations that are shown one by one.
const SHOWN: usize = 20;

/// A stretch of time, with what went wrong in it.
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) start: u64,
    pub(crate) figures: Figures,
}

/// What came of it.
#[derive(Serialize)]
pub(crate) struct Report {
    seed: u64,
    seconds: f64,
    operations: u64,
    failed: u64,
    compared: u64,
    /// By rule.
    violations: BTreeMap<&'static str, u64>,
    /// By method: calls that returned, and reads that broke a rule.
    methods: Vec<Row>,
    phases: Vec<Row>,
    /// Processes that did not end by themselves.
    stuck: usize,
    calm_hits: f64,
    calm_strong_hits: f64,
    #[serde(skip)]
    examples: Vec<String>,
}

#[derive(Serialize, Default)]
struct Row {
    name: String,
    operations: u64,
    failed: u64,
    violations: u64,
    /// Of the look-ups: answered from memory, from Redis, and in any way without reading the database.
    l1: f64,
    l2: f64,
    hits: f64,
    strong_hits: f64,
    missed_invalidations: u64,
    #[serde(skip)]
    figures: Figures,
}

impl Report {
    pub(crate) fn new(seed: u64, took: Duration, history: &[Record], phases: &[Phase], stuck: usize) -> Report {
        let verdict = judge(history);
        let phase_of = |time: u64| phases.iter().rposition(|phase| phase.start <= time).unwrap_or_default();
        let mut rows: Vec<Row> = Vec::new();
        let mut row_of = Vec::new();
        for phase in phases {
            let place = rows.iter().position(|row| row.name == phase.name).unwrap_or_else(|| {
                rows.push(Row { name: phase.name.clone(), ..Row::default() });
                rows.len() - 1
            });
            rows[place].figures = rows[place].figures.plus(&phase.figures);
            row_of.push(place);
        }
        let mut methods: Vec<Row> =
            Method::ALL.iter().map(|method| Row { name: method.name().to_owned(), ..Row::default() }).collect();
        for record in history {
            let failed = u64::from(record.version.is_none());
            for row in [&mut methods[record.method as usize], &mut rows[row_of[phase_of(record.start)]]] {
                row.operations += 1;
                row.failed += failed;
            }
        }
        let mut by_rule: BTreeMap<_, u64> = Rule::ALL.iter().map(|rule| (rule.name(), 0)).collect();
        for Violation { rule, read, .. } in &verdict.violations {
            *by_rule.entry(rule.name()).or_default() += 1;
            methods[read.method as usize].violations += 1;
            rows[row_of[phase_of(read.start)]].violations += 1;
        }
        rows.iter_mut().for_each(Row::settle);
        let zero = phases.first().map_or(0, |phase| phase.start);
        let name = |time| phases.get(phase_of(time)).map_or("", |phase| phase.name.as_str());
        let examples = verdict.violations.iter().take(SHOWN);
        let calm = rows.iter().find(|row| row.name == CALM);
        Report {
            seed,
            seconds: took.as_secs_f64(),
            operations: verdict.operations,
            failed: verdict.failed,
            compared: verdict.compared,
            violations: by_rule,
            stuck,
            calm_hits: calm.map_or(0.0, |row| row.hits),
            calm_strong_hits: calm.map_or(0.0, |row| row.strong_hits),
            examples: examples.map(|violation| tell(violation, zero, name(violation.read.start))).collect(),
            methods,
            phases: rows,
        }
    }

    /// Whether nothing was stale, and that means something.
    pub(crate) fn passed(&self) -> bool {
        self.total() == 0
            && self.stuck == 0
            && self.calm_hits >= LEAST_HITS
            && self.calm_strong_hits >= LEAST_HITS / 2.0
    }

    fn total(&self) -> u64 {
        self.violations.values().sum()
    }
}

impl Row {
    fn settle(&mut self) {
        let Figures { reads, bodies, l1_hits, l2_hits, missed, .. } = self.figures;
        let plain = Method::Plain as usize;
        let sum = |all: [u64; Method::READS]| all.iter().sum::<u64>() - all[plain];
        let strong = Method::Strong as usize;
        self.l1 = share(l1_hits, sum(reads));
        self.l2 = share(l2_hits, sum(reads));
        // A body is counted before its read is.
        self.hits = 1.0 - share(sum(bodies), sum(reads)).min(1.0);
        self.strong_hits = 1.0 - share(bodies[strong], reads[strong]).min(1.0);
        self.missed_invalidations = missed;
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn tell(violation: &Violation, zero: u64, phase: &str) -> String {
    let Violation { rule, read, write } = violation;
    let at = |time: u64| time.saturating_sub(zero) as f64 / 1e9;
    format!(
        "{}: register {}, {} in process {} (context {:x}, {:.4}..{:.4} s, {phase}) returned {:?}; {} in process {} (context {:x}) \
         was acknowledged with {:?} at {:.4} s",
        rule.name(),
        read.key,
        read.method.name(),
        read.process,
        read.context,
        at(read.start),
        at(read.end),
        read.version.unwrap_or_default(),
        write.method.name(),
        write.process,
        write.context,
        write.version.unwrap_or_default(),
        at(write.end),
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "while",
            "operations",
            "failed",
            "memory",
            "Redis",
            "no database",
            "strong",
            "missed",
            "stale",
        ]);
        for row in &self.phases {
            table.add_row([
                row.name.clone(),
                row.operations.to_string(),
                row.failed.to_string(),
                percent(row.l1),
                percent(row.l2),
                percent(row.hits),
                percent(row.strong_hits),
                row.missed_invalidations.to_string(),
                row.violations.to_string(),
            ]);
        }
        align(&mut table);
        writeln!(f, "{table}")?;
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["method", "operations", "failed", "stale"]);
        for row in &self.methods {
            let numbers = [row.operations, row.failed, row.violations].map(|number| number.to_string());
            table.add_row(std::iter::once(row.name.clone()).chain(numbers));
        }
        align(&mut table);
        writeln!(f, "{table}")?;
        for example in &self.examples {
            writeln!(f, "{example}")?;
        }
        if self.stuck > 0 {
            writeln!(f, "{} processes did not end by themselves", self.stuck)?;
        }
        for (rule, count) in &self.violations {
            writeln!(f, "{count:>9}  {rule}")?;
        }
        write!(
            f,
            "{:>9}  violations in {} operations ({} failed besides), {} comparisons, {:.0} s, seed {}; in calm phases {} of the cached reads \
             did not read the database, {} of the strong ones: {}",
            self.total(),
            self.operations,
            self.failed,
            self.compared,
            self.seconds,
            self.seed,
            percent(self.calm_hits),
            percent(self.calm_strong_hits),
            if self.passed() { "passed" } else { "FAILED" }
        )
    }
}

fn align(table: &mut Table) {
    table.column_iter_mut().skip(1).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
}
