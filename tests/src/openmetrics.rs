//! A strict reader of the OpenMetrics text format (openmetrics.io, version 1.0.0), as far as dbopt uses it.

use std::collections::{BTreeMap, BTreeSet};

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Metrics {
    types: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Each family with its type.
    pub fn families(&self) -> &BTreeMap<String, String> {
        &self.types
    }

    /// The names of the histograms.
    pub fn histograms(&self) -> impl Iterator<Item = &str> {
        self.types.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name.as_str())
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        let fits =
            move |s: &&Sample| s.name == name && labels.iter().all(|(k, v)| s.labels.get(*k).is_some_and(|l| l == v));
        self.samples.iter().filter(fits)
    }

    /// The sum of the samples of that name with at least these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|s| s.value).sum()
    }

    /// Whether there is such a sample.
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.matching(name, labels).next().is_some()
    }
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || "_:".contains(c))
        && chars.all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
}

/// The suffixes that samples of a type may have.
fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total", "_created"],
        "histogram" => &["_bucket", "_count", "_sum", "_created"],
        "info" => &["_info"],
        "gauge" | "unknown" => &[""],
        _ => &[],
    }
}

/// Reads a page.
///
/// # Errors
/// With the first line that breaks a rule of the format.
pub fn parse(text: &str) -> Result<Metrics, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF")?;
    let mut metrics = Metrics::default();
    let mut family = String::new();
    let mut seen = BTreeSet::new();
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (what, name, rest) = (words.next(), words.next(), words.next());
            let (Some(what), Some(name), Some(rest)) = (what, name, rest) else {
                return Err(format!("half a comment: {line}"));
            };
            if !is_name(name) || !["HELP", "TYPE", "UNIT"].contains(&what) {
                return Err(format!("no comment of the format: {line}"));
            }
            if what == "UNIT" && !name.ends_with(&format!("_{rest}")) {
                return Err(format!("the unit is not in the name: {line}"));
            }
            if name != family && metrics.types.contains_key(name) {
                return Err(format!("a family in two places: {line}"));
            }
            if what == "TYPE" && (suffixes(rest).is_empty() || metrics.types.insert(name.into(), rest.into()).is_some())
            {
                return Err(format!("no type, or a second one: {line}"));
            }
            family = name.into();
            continue;
        }
        let sample = sample(line).ok_or_else(|| format!("no sample: {line}"))?;
        let kind = metrics.types.get(&family).ok_or_else(|| format!("a sample without a type: {line}"))?;
        let suffix = sample.name.strip_prefix(&family).ok_or_else(|| format!("a sample outside its family: {line}"))?;
        if !suffixes(kind).contains(&suffix) {
            return Err(format!("a {kind} has no {suffix}: {line}"));
        }
        if suffix == "_bucket" && !sample.labels.contains_key("le") || suffix == "_total" && sample.value < 0.0 {
            return Err(format!("not a bucket, or a negative count: {line}"));
        }
        if !seen.insert((sample.name.clone(), sample.labels.clone())) {
            return Err(format!("told twice: {line}"));
        }
        metrics.samples.push(sample);
    }
    check_buckets(&metrics)?;
    Ok(metrics)
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            let (key, after) = inside.split_once("=\"")?;
            let close = after.char_indices().scan(false, |escaped, (i, c)| {
                let ends = c == '"' && !*escaped;
                *escaped = c == '\\' && !*escaped;
                Some((i, ends))
            });
            let close = close.into_iter().find(|(_, ends)| *ends)?.0;
            if !is_name(key) || labels.insert(key.to_owned(), after[..close].to_owned()).is_some() {
                return None;
            }
            inside = &after[close + 1..];
            match inside.strip_prefix(',') {
                Some(more) => inside = more,
                None => break,
            }
        }
        rest = inside.strip_prefix('}')?;
    }
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    is_name(name).then(|| Sample { name: name.into(), labels, value })
}

/// Buckets grow, and the last one, `+Inf`, holds all.
fn check_buckets(metrics: &Metrics) -> Result<(), String> {
    for family in metrics.histograms() {
        let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
        for bucket in metrics.matching(&format!("{family}_bucket"), &[]) {
            let mut labels = bucket.labels.clone();
            let le = labels.remove("le").and_then(|le| le.parse().ok()).ok_or("a bound that is no number")?;
            series.entry(labels).or_default().push((le, bucket.value));
        }
        for (labels, buckets) in series {
            let wanted: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let all = metrics.sum(&format!("{family}_count"), &wanted);
            let grows = buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
            if !grows || buckets.last() != Some(&(f64::INFINITY, all)) {
                return Err(format!("{family} {labels:?}: buckets do not grow to the count {all}: {buckets:?}"));
            }
        }
    }
    Ok(())
}
