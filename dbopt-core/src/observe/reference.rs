//! The reference of all metrics, made of what is written at a scrape; in tests alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::*;
use crate::op::{Intent, Lane, Op};

/// A family as it is declared.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    unit: String,
    help: String,
    labels: Vec<String>,
    samples: usize,
}

/// One of everything that an instance may tell.
fn everything() -> String {
    static OP: Op = Op::new("Flights::find", Intent::Read);
    let calls = Calls::new(1);
    calls.method(&OP).series(0, Lane::Read).record(Outcome::Ok, Duration::from_millis(3));
    let node = || "db1".to_owned();
    let gauges = Gauges {
        states: vec!["healthy"],
        nodes: vec![NodeGauges {
            node: node(),
            state: "healthy",
            up: true,
            primary: true,
            lag_seconds: Some(0.0),
            lag_bytes: Some(0),
            unreached_seconds: Some(0.0),
            losses: 0,
            weight: Some(1.0),
            host: [Some(0.1); 3],
        }],
        pools: vec![PoolGauges { node: node(), lane: "read", open: 1, in_use: 0, waiting: 0, max: 2 }],
        circuits: vec![CircuitCounts {
            node: node(),
            lane: "read",
            state: 0,
            refused: 0,
            transitions: vec![("closed", "open", 0)],
        }],
        retries: RetryCounts { connects: vec![("unreachable", 0)], ..RetryCounts::default() },
        cache: Some(CacheCounts {
            memory: vec![("Flights::find", 1, 0)],
            redis: vec![("Flights::find", [0; 3])],
            left: vec![("Flights::find", [0; 3])],
            redis_up: Some(true),
            ..CacheCounts::default()
        }),
        limits: Some(LimitCounts {
            checks: vec![("Flights::find", "user", "admitted", 0)],
            callers: vec![("user".into(), 0)],
            redis_up: Some(true),
            ..LimitCounts::default()
        }),
        takeovers: TakeoverCounts { outage_seconds: Some(0.0), lost_bytes: Some(0), ..TakeoverCounts::default() },
        statements: Some(StatementCounts {
            series: vec![StatementSeries {
                method: "Flights::find",
                node: node().into(),
                lane: "read",
                latency: HistogramCounts::default(),
                rows: 0,
                errors: 0,
                slow: 0,
            }],
            repeated: vec![("Flights::find", 0)],
            skipped: vec![("unread", 0)],
            fingerprints: 1,
            indexes: vec![("missing", 0)],
        }),
        alerts: Some(AlertCounts { firing: vec![("lag", 0)], sent: vec![("slack", [0; 5])] }),
        ..Gauges::default()
    };
    openmetrics(&calls, &[node()], gauges).unwrap()
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut all: BTreeMap<String, Family> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let [what, name, rest] = [(); 3].map(|()| words.next().unwrap().to_owned());
            let family = all.entry(name.clone()).or_default();
            match what.as_str() {
                "HELP" => family.help = rest.trim_end_matches('.').to_owned(),
                "TYPE" => family.kind = rest,
                _ => family.unit = rest,
            }
            last = name;
            continue;
        }
        let family = all.get_mut(&last).unwrap();
        family.samples += 1;
        let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
        for label in labels.split("\",").filter_map(|pair| pair.split_once("=\"")).map(|(name, _)| name.to_owned()) {
            if label != "le" && !family.labels.contains(&label) {
                family.labels.push(label);
            }
        }
    }
    all
}

/// What samples of the family are called.
fn shown(name: &str, family: &Family) -> String {
    if family.kind == "counter" { format!("{name}_total") } else { name.to_owned() }
}

#[test]
fn the_reference_in_the_book_is_what_is_declared() {
    let mut table = String::from("| metric | type | unit | labels | what it says |\n|---|---|---|---|---|\n");
    for (name, family) in families(&everything()) {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let Family { kind, unit, help, .. } = &family;
        writeln!(table, "| `{}` | {kind} | {unit} | {} | {help} |", shown(&name, &family), labels.join(", ")).unwrap();
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../book/src/metrics.md");
    let page = std::fs::read_to_string(file).unwrap();
    let (begin, end) = ("<!-- begin: made by the tests of dbopt-core -->\n", "<!-- end -->");
    let (before, rest) = page.split_once(begin).unwrap();
    let (committed, after) = rest.split_once(end).unwrap();
    if std::env::var_os("DBOPT_UPDATE").is_some() {
        std::fs::write(file, format!("{before}{begin}{table}{end}{after}")).unwrap();
    }
    assert!(committed == table, "book/src/metrics.md is out of date: run this test with DBOPT_UPDATE=1");
}

/// Prometheus' conventions: <https://prometheus.io/docs/practices/naming/>.
#[test]
fn r10_1_names_units_and_help_follow_the_conventions() {
    for (name, family) in families(&everything()) {
        assert!(name.starts_with("dbopt_") && !name.ends_with("_total"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
        assert!(["counter", "gauge", "histogram"].contains(&family.kind.as_str()), "{name} {family:?}");
        assert!(["", "seconds", "bytes", "ratio"].contains(&family.unit.as_str()), "{name}: base units alone");
        assert!(family.unit.is_empty() || name.ends_with(&format!("_{}", family.unit)), "{name}");
        for scaled in ["_ms", "_milliseconds", "_micros", "_kb", "_mb", "_percent", "_minutes"] {
            assert!(!name.contains(scaled), "{name}: base units alone");
        }
        assert!(family.help.len() > 10 && !family.help.contains('\n'), "{name} {}", family.help);
    }
}

/// Labels are what the application's code and its settings name: never a statement, a user, a key or an error's text.
#[test]
fn r10_1_labels_are_few_and_bounded() {
    let bounded = [
        "method", "node", "lane", "kind", "state", "from", "to", "what", "reason", "layer", "result", "by", "outcome",
        "scope", "limit", "event", "rule", "channel",
    ];
    for (name, family) in families(&everything()) {
        assert!(family.labels.len() <= 4, "{name} {:?}", family.labels);
        for label in &family.labels {
            assert!(bounded.contains(&label.as_str()), "{name}: is `{label}` bounded?");
        }
    }
}

/// What an alert or a rate looks at is there before the first event, or that would be invisible.
#[test]
fn counters_without_labels_of_calls_begin_at_nothing() {
    let fresh =
        Gauges { alerts: Some(AlertCounts::default()), cache: Some(CacheCounts::default()), ..Gauges::default() };
    let families = families(&openmetrics(&Calls::new(1), &["db1".into()], fresh).unwrap());
    for name in ["dbopt_failovers", "dbopt_reads_shed", "dbopt_retry_budget_exhausted", "dbopt_cache_invalidations"] {
        assert!(families[name].samples > 0, "{name}");
    }
}

/// What a scrape of a large application costs: printed, as it depends on the machine. `--no-capture` shows it.
#[test]
fn a_scrape_of_200_methods_on_5_nodes_is_one_series_per_node_and_lane() {
    let calls = Calls::new(5);
    for n in 0..200 {
        let name: &'static str = Box::leak(format!("Repository::method_{n}").into_boxed_str());
        let method = calls.method(Box::leak(Box::new(Op::new(name, Intent::Read))));
        for (node, lane) in (0..5).flat_map(|node| Lane::ALL.map(|lane| (node, lane))) {
            method.series(node, lane).record(Outcome::Ok, Duration::from_micros(n * 37));
        }
    }
    let nodes: Vec<String> = (1..=5).map(|n| format!("db{n}")).collect();
    let begin = tokio::time::Instant::now();
    let text = openmetrics(&calls, &nodes, Gauges::default()).unwrap();
    let (modern, older) = (begin.elapsed(), classic(&text).len());
    println!(
        "{} kB in {modern:?}; {} kB in the older format, both in {:?}",
        text.len() / 1000,
        older / 1000,
        begin.elapsed()
    );
    assert_eq!(families(&text)["dbopt_call_duration_seconds"].samples, 200 * 5 * 3 * (BOUNDS.len() + 1 + 2));
}
