//! The dashboards of Grafana: their queries, as Grafana would send them.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

/// A dashboard's queries.
pub(crate) struct Dashboard {
    pub(crate) title: String,
    pub(crate) queries: Vec<Query>,
}

/// A query of a panel.
pub(crate) struct Query {
    /// The panel's title, and the query's letter where it has several.
    pub(crate) name: String,
    /// PromQL without variables.
    pub(crate) expression: String,
}

/// As much of Grafana's format as is needed here; a field that is missing is an error.
#[derive(Deserialize)]
struct File {
    title: String,
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
struct Panel {
    title: String,
    /// Rows have none.
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    ref_id: String,
    expr: String,
}

/// Every dashboard of a folder, by name.
pub(crate) fn read(folder: &Path) -> anyhow::Result<Vec<Dashboard>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let dashboard = |file: &std::path::PathBuf| {
        let text = std::fs::read_to_string(file)?;
        let file: File = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        Ok(Dashboard { title: file.title, queries: file.panels.iter().flat_map(queries).collect() })
    };
    files.iter().map(dashboard).collect()
}

fn queries(panel: &Panel) -> Vec<Query> {
    let named = |target: &Target| match panel.targets.len() {
        1 => panel.title.clone(),
        _ => format!("{} {}", panel.title, target.ref_id),
    };
    let query = |target: &Target| Query { name: named(target), expression: without_variables(&target.expr) };
    panel.targets.iter().map(query).collect()
}

/// With all instances of all applications chosen, and scrapes every 5 s.
fn without_variables(expression: &str) -> String {
    expression.replace("$__rate_interval", "30s").replace("$job", ".*").replace("$instance", ".*")
}

#[cfg(test)]
mod tests;
