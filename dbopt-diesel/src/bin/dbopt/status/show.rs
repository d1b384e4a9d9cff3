//! What the terminal shows of a status.

use std::time::Duration;

use comfy_table::{Attribute, Cell, CellAlignment, Color};
use owo_colors::{OwoColorize, Style};

use super::view::{Alert, Checks, Event, Limit, Limits, Node, OpenCircuit, Pool, View};
use crate::term::{self, wants_colour};

/// How many events are shown.
const EVENTS: usize = 8;

/// How many methods with limits are shown, those that were refused most first.
const METHODS: usize = 6;

/// So many columns of text show everything there is of a node; below, these are left out: whom it follows, its position, the
/// critical calls and their pool.
const WIDE: u16 = 168;
const LEFT_OUT: [usize; 4] = [3, 4, 10, 13];

/// An earlier look, and how long ago it was: rates are differences.
pub(super) struct Before<'a> {
    pub(super) view: &'a View,
    pub(super) ago: Duration,
}

/// All of it, section by section; what there is nothing of is left out.
pub(super) fn everything(url: &str, view: &View, before: Option<&Before<'_>>) -> String {
    let mut sections = vec![headline(url, view, before), nodes(view, before)];
    sections.push(lines("open circuits", &view.open_circuits, circuit));
    sections.push(limits(&view.limits));
    sections.push(cache(view));
    sections.push(lines("alerts", &view.alerts, alert));
    sections.push(lines("events", view.events.get(..EVENTS).unwrap_or(&view.events), event));
    sections.retain(|section| !section.is_empty());
    sections.join("\n\n")
}

fn headline(url: &str, view: &View, before: Option<&Before<'_>>) -> String {
    let health = match view.health.as_str() {
        "ok" => paint("ok", Style::new().green().bold()),
        "degraded" => paint("degraded", Style::new().yellow().bold()),
        other => paint(other, Style::new().red().bold()),
    };
    let primary = match &view.primary {
        Some(name) => format!("primary {}", paint(name, Style::new().cyan())),
        None => paint("no primary: writes are refused", Style::new().red()),
    };
    let pool = &view.connections;
    let used = format!(
        "connections {} in use, {} open of {} ({:.0} %)",
        pool.in_use, pool.open, pool.max, pool.utilization_percent
    );
    let used = if pool.utilization_percent > 80.0 { paint(&used, Style::new().yellow()) } else { used };
    let calls = match before {
        Some(before) => format!("{}/s", short(rate(view.calls(), before.view.calls(), before.ago))),
        None => view.calls().to_string(),
    };
    format!("{health}  {primary}  {used}  calls {calls}\n{}", paint(url, Style::new().dimmed()))
}

fn nodes(view: &View, before: Option<&Before<'_>>) -> String {
    let mut table = term::table();
    let unit = if before.is_some() { "/s" } else { "" };
    let columns = ["node", "role", "state", "follows", "position", "lag", "weight", "cpu"].map(str::to_owned);
    let counts = ["reads", "writes", "critical"].map(|lane| format!("{lane}{unit}"));
    let rest = ["read pool", "write pool", "critical pool", "p99"].map(str::to_owned);
    let names = columns.into_iter().chain(counts).chain(rest);
    let narrow = term::width().is_some_and(|width| width < WIDE);
    let shown = |(i, cell): (usize, Cell)| (!narrow || !LEFT_OUT.contains(&i)).then_some(cell);
    let header = names.map(|name| Cell::new(name).add_attribute(Attribute::Bold));
    table.set_header(header.enumerate().filter_map(shown));
    for node in &view.nodes {
        table.add_row(row(node, view, before).into_iter().enumerate().filter_map(shown));
    }
    let causes = view.nodes.iter().flat_map(|node| {
        let name = paint(&format!("{}:", node.name), state_style(&node.state));
        node.cause.iter().chain(&node.notes).map(move |text| format!("\n  {name} {text}"))
    });
    term::lines(&table) + &causes.collect::<String>()
}

fn row(node: &Node, view: &View, before: Option<&Before<'_>>) -> Vec<Cell> {
    let calls = |lane: &str| {
        let now = node.calls.get(lane).copied().unwrap_or(0);
        let Some(before) = before else { return now.to_string() };
        let then = before.view.nodes.iter().find(|old| old.name == node.name).and_then(|old| old.calls.get(lane));
        short(rate(now, then.copied().unwrap_or(0), before.ago))
    };
    let role = Cell::new(node.role.as_deref().unwrap_or("unknown"));
    let here = || view.methods.iter().filter(|method| method.node == node.name && method.count > 0);
    let p99 = here().map(|method| method.p99_ms).reduce(f64::max);
    let lane = |lane: &str| pool(node.pools.iter().find(|pool| pool.lane == lane));
    vec![
        Cell::new(&node.name).add_attribute(Attribute::Bold),
        if node.role.as_deref() == Some("primary") { role.fg(Color::Cyan) } else { role },
        Cell::new(node.state.replace('_', " ")).fg(state_colour(&node.state)),
        dash(node.upstream.clone()),
        dash(node.position.clone()),
        right(node.lag_seconds.map(|seconds| time(seconds * 1e3))),
        right(node.balance.as_ref().map(|balance| format!("{:.2}", balance.weight))),
        right(node.host.cpu.map(|share| format!("{:.0} %", share * 100.0))),
        right(Some(calls("read"))),
        right(Some(calls("write"))),
        right(Some(calls("critical"))),
        lane("read"),
        lane("write"),
        lane("critical"),
        right(p99.map(time)),
    ]
}

/// `3/10`, `10/10 +4` with callers in the queue, and the circuit where it is not closed.
fn pool(pool: Option<&Pool>) -> Cell {
    let Some(Pool { open, in_use, waiting, max, circuit, .. }) = pool else { return right(None) };
    let queue = if *waiting > 0 { format!(" +{waiting}") } else { String::new() };
    let text =
        if in_use == open { format!("{in_use}/{max}{queue}") } else { format!("{in_use} of {open}/{max}{queue}") };
    if circuit.state != "closed" {
        return right(Some(circuit.state.replace('_', "-"))).fg(Color::Red);
    }
    let cell = right(Some(text));
    if *waiting > 0 { cell.fg(Color::Yellow) } else { cell }
}

fn circuit(circuit: &OpenCircuit) -> String {
    let OpenCircuit { node, lane, state, cause, test_in_seconds } = circuit;
    let cause = cause.as_ref().map_or(String::new(), |cause| format!(": {cause}"));
    let test = test_in_seconds.map_or(String::new(), |seconds| format!(", tested again in {}", time(seconds * 1e3)));
    format!("{} {lane} lane of {node}{cause}{test}", paint(&state.replace('_', "-"), Style::new().red()))
}

fn limits(limits: &Limits) -> String {
    if limits.limits.is_empty() {
        return String::new();
    }
    let one = |limit: &Limit| {
        let callers = if limit.scope == "user" { format!(" ({} callers)", limit.callers) } else { String::new() };
        format!("  {} {}{callers}", limit.name, limit.rates)
    };
    let mut text = bold("limits") + &limits.limits.iter().map(one).collect::<String>();
    if limits.redis == "down" {
        let lost = "\n  Redis is not reachable: what holds meanwhile is limit.when_redis_is_lost";
        text.push_str(&paint(lost, Style::new().yellow()));
    }
    let mut methods: Vec<&Checks> = limits.methods.iter().collect();
    methods.sort_by_key(|checks| std::cmp::Reverse((checks.refused, checks.admitted)));
    methods.truncate(METHODS);
    if methods.is_empty() {
        return text;
    }
    let mut table = term::table();
    let columns = ["method", "scope", "admitted", "refused", "bypassed", "without Redis"];
    table.set_header(columns.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    for checks in methods {
        let count = |count: u64| right(Some(count.to_string()));
        let refused = count(checks.refused);
        table.add_row([
            Cell::new(&checks.method),
            Cell::new(&checks.scope),
            count(checks.admitted),
            if checks.refused > 0 { refused.fg(Color::Yellow) } else { refused },
            count(checks.bypassed),
            count(checks.degraded),
        ]);
    }
    text + "\n" + &term::lines(&table)
}

fn cache(view: &View) -> String {
    let Some(rate) = view.hit_rate() else { return String::new() };
    let cache = &view.cache;
    let redis = match cache.redis.as_str() {
        "down" => paint("Redis down", Style::new().red()),
        "not configured" | "" => "memory alone".to_owned(),
        state => format!("Redis {state}"),
    };
    let waiting = if cache.journal > 0 {
        paint(&format!("  {} invalidations wait for Redis", cache.journal), Style::new().yellow())
    } else {
        String::new()
    };
    let entries = cache.l1_entries;
    format!("{}  {:.1} % hits  {entries} entries in memory  {redis}{waiting}", bold("cache"), rate * 100.0)
}

fn alert(alert: &Alert) -> String {
    let style = if alert.severity == "warning" { Style::new().yellow() } else { Style::new().red() };
    let subject = alert.subject.as_ref().map_or(String::new(), |subject| format!(" {subject}"));
    let name = paint(&format!("{} {}{subject}", alert.severity, alert.rule), style);
    format!("{name} for {}: {}", time(alert.for_seconds * 1e3), alert.summary)
}

fn event(event: &Event) -> String {
    let ago = paint(&format!("{:>7} ago", time(event.ago_seconds * 1e3)), Style::new().dimmed());
    format!("{ago}  {:<8} {}: {}", event.kind, bold(&event.subject), event.text)
}

fn lines<T>(name: &str, items: &[T], line: impl Fn(&T) -> String) -> String {
    if items.is_empty() {
        return String::new();
    }
    let all: String = items.iter().map(|item| format!("\n  {}", line(item))).collect();
    bold(name) + &all
}

fn state_colour(state: &str) -> Color {
    match state {
        "healthy" => Color::Green,
        "degraded" | "lagging" | "returning" | "disconnected" | "unknown" => Color::Yellow,
        _ => Color::Red,
    }
}

fn state_style(state: &str) -> Style {
    match state_colour(state) {
        Color::Green => Style::new().green(),
        Color::Yellow => Style::new().yellow(),
        _ => Style::new().red(),
    }
}

fn paint(text: &str, style: Style) -> String {
    if wants_colour(&std::io::stdout()) { text.style(style).to_string() } else { text.to_owned() }
}

fn bold(text: &str) -> String {
    paint(text, Style::new().bold())
}

fn dash(text: Option<String>) -> Cell {
    Cell::new(text.as_deref().unwrap_or("-"))
}

fn right(text: Option<String>) -> Cell {
    dash(text).set_alignment(CellAlignment::Right)
}

fn rate(now: u64, then: u64, ago: Duration) -> f64 {
    now.saturating_sub(then) as f64 / ago.as_secs_f64().max(f64::EPSILON)
}

/// `7`, `480`, `12.3k`, `1.2M`.
fn short(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e4 => format!("{:.1}k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// Milliseconds as people say them: `0.4 ms`, `12 ms`, `3.2 s`, `5 min`, `2 h`.
fn time(ms: f64) -> String {
    match ms {
        0.0 => "0".to_owned(),
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1e3 => format!("{ms:.0} ms"),
        ms if ms < 60e3 => format!("{:.1} s", ms / 1e3),
        ms if ms < 3600e3 => format!("{:.0} min", ms / 60e3),
        ms => format!("{:.0} h", ms / 3600e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!([7.2, 480.0, 12_345.0, 1.25e6].map(short), ["7", "480", "12.3k", "1.2M"]);
        assert_eq!(
            [0.0, 0.44, 12.3, 3210.0, 300e3, 7.2e6].map(time),
            ["0", "0.4 ms", "12 ms", "3.2 s", "5 min", "2 h"]
        );
    }
}
