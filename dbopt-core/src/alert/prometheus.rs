//! The same rules for a Prometheus that scrapes the application: one source of names, limits and times. Pure.
//!
//! A rule of Prometheus alone knows no second limit: that an alert ends elsewhere than where it began is said by looking at whether
//! it fires (`ALERTS`). `hold` is `keep_firing_for`, which Prometheus has since 2.42.

mod expressions;
mod words;

use std::time::Duration;

use super::config::Config;
use super::rule::Rule;

pub use expressions::{LOST, OPEN, STRAY};

/// How often Prometheus is to evaluate the rules, and to scrape: the shortest `for` is as long.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// The name of the one alert that only somebody outside can raise.
const INSTANCE_DOWN: &str = "DboptInstanceDown";

/// The rules that `config` means, as a rule file (YAML). With a `job`, they judge the targets of that job alone.
///
/// Every watched rule is one alert: `DboptErrorRate` with the label `rule="error_rate"`, the severity and the times of the
/// built-in one. Of what concerns the cluster there is one alert, however many instances tell it. On top comes `DboptInstanceDown`, which an instance
/// cannot tell of itself.
pub fn rules(config: &Config, job: Option<&str>) -> String {
    let matcher =
        job.map(|job| format!("job=\"{}\"", job.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")));
    let scope = expressions::Scope { config, job: matcher };
    let mut text = format!(
        "# The alerts of dbopt as rules for Prometheus 2.42 or newer, made by `dbopt alerts rules` from the settings in [alerts].\n\
         # Scrape at least as often as they are evaluated.\n\
         groups:\n  - name: dbopt\n    interval: {}\n    rules:\n",
        time(INTERVAL)
    );
    for (name, expression) in scope.records() {
        text.push_str(&format!("      - record: {name}\n        expr: |-\n{}", indented(&expression)));
    }
    for rule in Rule::ALL.into_iter().filter(|rule| config.watches(*rule)) {
        text.push_str(&alert(&scope, rule));
    }
    text.push_str(&instance_down(&scope));
    text
}

/// `DboptErrorRate`.
fn alert_name(rule: Rule) -> String {
    let words = rule.name().split('_').flat_map(|word| {
        let mut letters = word.chars();
        letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<Vec<_>>()
    });
    format!("Dbopt{}", words.collect::<String>())
}

fn alert(scope: &expressions::Scope<'_>, rule: Rule) -> String {
    let (timing, words) = (scope.config.timing(rule), words::of(scope.config, rule));
    let hold = match timing.hold.is_zero() {
        true => String::new(),
        false => format!("        keep_firing_for: {}\n", time(timing.hold)),
    };
    format!(
        "      - alert: {}\n        expr: |-\n{}        for: {}\n{hold}{}",
        alert_name(rule),
        indented(&scope.expression(rule)),
        time(timing.lasting),
        labels(scope.config, rule.name(), rule.severity().name(), &words),
    )
}

fn instance_down(scope: &expressions::Scope<'_>) -> String {
    let words = words::Words {
        summary: "{{ $labels.instance }} does not answer Prometheus".into(),
        action: "Look whether the process runs; it can tell nobody itself.",
    };
    format!(
        "      - alert: {INSTANCE_DOWN}\n        expr: |-\n{}        for: 30s\n{}",
        indented(&scope.instance_down()),
        labels(scope.config, "instance_down", "error", &words),
    )
}

fn labels(config: &Config, rule: &str, severity: &str, words: &words::Words) -> String {
    let anchor = rule.replace('_', "-");
    format!(
        "        labels:\n          rule: {rule}\n          severity: {severity}\n          source: {}\n        annotations:\n          \
         summary: {}\n          description: {}\n          runbook_url: {}/blob/main/book/src/monitoring.md#{anchor}\n",
        quoted(&config.source),
        quoted(&words.summary),
        quoted(words.action),
        env!("CARGO_PKG_REPOSITORY"),
    )
}

/// As a string of YAML, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''").replace(['\n', '\r'], " "))
}

fn indented(expression: &str) -> String {
    expression.lines().map(|line| format!("          {line}\n")).collect()
}

/// A time as Prometheus writes it: `90s`, `2m`, `1500ms`.
fn time(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    match (seconds % 60, millis) {
        (_, 1..) => format!("{}ms", time.as_millis()),
        (0, _) if seconds > 0 => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests;
