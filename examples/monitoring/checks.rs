//! What has to be there, and whether it is.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use comfy_table::{Cell, CellAlignment, Table, presets};
use reqwest::Url;
use serde_json::Value;

use crate::api::Api;
use crate::dashboards::Dashboard;

/// One thing that has to be there: what was seen of it, or what is wrong.
pub(crate) struct Check {
    pub(crate) what: String,
    pub(crate) result: Result<String, String>,
}

impl Check {
    fn new(what: impl Into<String>, result: anyhow::Result<String>) -> Self {
        Check { what: what.into(), result: result.map_err(|error| format!("{error:#}")) }
    }
}

/// What the tools of Prometheus say of the files, without any server.
pub(crate) fn files(folder: &Path) -> Vec<Check> {
    let tools: [(&str, &[&str]); 4] = [
        ("promtool", &["check", "config", "prometheus.yml"]),
        ("promtool", &["check", "rules", "rules.yml"]),
        ("promtool", &["test", "rules", "rules_test.yml"]),
        ("amtool", &["check-config", "alertmanager.yml"]),
    ];
    let run = |(tool, arguments): (&str, &[&str])| {
        let output = Command::new(tool).args(arguments).current_dir(folder).output();
        Check::new(format!("{tool} {}", arguments.join(" ")), output.map_err(Into::into).and_then(said))
    };
    tools.into_iter().map(run).collect()
}

fn said(output: std::process::Output) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        anyhow::bail!("{}", text.trim());
    }
    Ok("passed".to_owned())
}

/// What promtool says of the metrics themselves.
pub(crate) async fn scrape(api: &Api, admin: &Url) -> Check {
    let look = async {
        let text = api.text(admin.join("metrics")?, "text/plain").await?;
        let mut promtool = Command::new("promtool");
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut promtool = promtool.spawn()?;
        if let Some(mut input) = promtool.stdin.take() {
            input.write_all(text.as_bytes())?;
        }
        said(promtool.wait_with_output()?)
    };
    Check::new("promtool check metrics", look.await)
}

/// What was seen at one moment.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) checks: Vec<Check>,
    firing: Vec<String>,
}

impl Report {
    pub(crate) async fn look(api: &Api, dashboards: &[Dashboard], rules: usize) -> Report {
        let mut checks = vec![
            Check::new("Alertmanager", api.alertmanager().await),
            Check::new("Prometheus sends alerts to it", alertmanagers(api).await),
            Check::new("targets", targets(api).await),
            Check::new("rules", evaluated(api, rules).await),
        ];
        for dashboard in dashboards {
            for query in &dashboard.queries {
                let seen = api.series(&query.expression).await;
                let seen = seen.and_then(|series| match series {
                    0 => anyhow::bail!("no data for {}", query.expression),
                    1 => Ok("1 series".to_owned()),
                    series => Ok(format!("{series} series")),
                });
                checks.push(Check::new(format!("{} / {}", dashboard.title, query.name), seen));
            }
        }
        Report { checks, firing: firing(api).await.unwrap_or_default() }
    }

    pub(crate) fn failed(&self) -> Vec<&Check> {
        self.checks.iter().filter(|check| check.result.is_err()).collect()
    }

    /// Whether nothing at all is there yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.checks.iter().take(3).any(|check| check.result.is_err())
    }

    /// One line, for whoever watches.
    pub(crate) fn summary(&self) -> String {
        let failed = self.failed();
        let mut text = format!("{} of {} checks pass", self.checks.len() - failed.len(), self.checks.len());
        if let Some(first) = failed.first() {
            let _ = write!(text, ", not yet: {}", first.what);
        }
        let firing = if self.firing.is_empty() { "none".to_owned() } else { self.firing.join(", ") };
        let _ = write!(text, "; alerts: {firing}");
        text
    }

    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["", "what", "seen"]);
        for Check { what, result } in &self.checks {
            let (word, seen) = match result {
                Ok(seen) => ("ok", seen.as_str()),
                Err(_) => ("FAILED", ""),
            };
            table.add_row([Cell::new(word), Cell::new(what), Cell::new(seen).set_alignment(CellAlignment::Right)]);
        }
        format!("{table}\n\n")
    }
}

async fn alertmanagers(api: &Api) -> anyhow::Result<String> {
    let data = api.prometheus("alertmanagers", &[]).await?;
    match data["activeAlertmanagers"].as_array().map_or(0, Vec::len) {
        0 => anyhow::bail!("Prometheus knows no Alertmanager"),
        known => Ok(format!("{known} known")),
    }
}

async fn targets(api: &Api) -> anyhow::Result<String> {
    let data = api.prometheus("targets", &[("state", "active")]).await?;
    let targets = data["activeTargets"].as_array().cloned().unwrap_or_default();
    if targets.is_empty() {
        anyhow::bail!("Prometheus has no target");
    }
    match targets.iter().find(|target| target["health"] != "up") {
        Some(target) => anyhow::bail!("{} is {}: {}", target["scrapeUrl"], target["health"], target["lastError"]),
        None => Ok(format!("{} up", targets.len())),
    }
}

async fn evaluated(api: &Api, wanted: usize) -> anyhow::Result<String> {
    let data = api.prometheus("rules", &[]).await?;
    let groups = data["groups"].as_array().cloned().unwrap_or_default();
    let rules: Vec<&Value> = groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
    if let Some(rule) = rules.iter().find(|rule| rule["health"] != "ok") {
        anyhow::bail!("{} is {}: {}", rule["name"], rule["health"], rule["lastError"]);
    }
    if rules.len() != wanted {
        anyhow::bail!("{} rules are loaded, and rules.yml has {wanted}", rules.len());
    }
    Ok(format!("{wanted} evaluated"))
}

async fn firing(api: &Api) -> anyhow::Result<Vec<String>> {
    let data = api.prometheus("alerts", &[]).await?;
    let alerts = data["alerts"].as_array().cloned().unwrap_or_default();
    let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
    Ok(firing.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs where Prometheus and Alertmanager are installed; `cargo xtask monitor` installs them, and checks the same.
    #[test]
    fn r10_4_rules_begin_and_end_as_the_alerts_do() {
        if Command::new("promtool").arg("--version").output().is_err() {
            println!("promtool is not here: not checked");
            return;
        }
        for Check { what, result } in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring")) {
            assert_eq!(result, Ok("passed".to_owned()), "{what}");
        }
    }
}
