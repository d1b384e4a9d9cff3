#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

use dbopt_diesel::core::alert::Config;
use serde_json::Value;

use super::without_variables;

fn dashboards() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring/grafana");
    let file = |name: &str| serde_json::from_str(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap();
    ["database-performance.json", "cache-performance.json"].map(|name| (name.to_owned(), file(name))).to_vec()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// What Grafana needs of a dashboard, and what its reader does.
#[test]
fn r10_5_dashboards_have_what_grafana_asks_for() {
    let titles: Vec<_> = dashboards().iter().map(|(_, dashboard)| text(&dashboard["title"]).to_owned()).collect();
    assert_eq!(titles, ["Database Performance", "Cache Performance"]);
    for (file, dashboard) in dashboards() {
        assert!(dashboard["schemaVersion"].as_u64() >= Some(39) && dashboard["id"].is_null(), "{file}");
        assert!(text(&dashboard["uid"]).len() <= 40, "{file}");
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        assert_eq!((text(&variables[0]["type"]), text(&variables[0]["query"])), ("datasource", "prometheus"));
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: two panels with the id {}", panel["id"]);
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24 && place("h") >= 1, "{file}: {}", panel["title"]);
        }
        for panel in panels(&dashboard) {
            assert!(["stat", "timeseries", "heatmap", "state-timeline"].contains(&text(&panel["type"])), "{panel}");
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(!text(&panel["title"]).is_empty() && !text(&defaults["unit"]).is_empty(), "{panel}");
            assert!(defaults["thresholds"]["steps"].as_array().is_some_and(|steps| steps[0]["value"].is_null()));
            let targets = panel["targets"].as_array().unwrap();
            let letters: BTreeSet<_> = targets.iter().map(|target| text(&target["refId"])).collect();
            assert!(!targets.is_empty() && letters.len() == targets.len(), "{panel}");
            for target in targets {
                assert!(!text(&target["legendFormat"]).is_empty() && !text(&target["expr"]).is_empty(), "{panel}");
                assert_eq!(text(&target["datasource"]["uid"]), "${datasource}");
                assert!(!without_variables(text(&target["expr"])).contains('$'), "{target}");
            }
        }
    }
}

#[test]
fn panels_do_not_lie_on_each_other() {
    for (file, dashboard) in dashboards() {
        let mut taken = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(taken.insert((x, y)), "{file}: {} lies on another panel", panel["title"]);
                }
            }
        }
    }
}

/// A dashboard turns red where the alert begins.
#[test]
fn thresholds_are_those_of_the_alerts() {
    let alerts = Config::default();
    let limits = [
        ("Latency p99", alerts.latency.limit()),
        ("Error rate", alerts.error_rate.limit()),
        ("Pool utilisation", alerts.pool.limit()),
        ("Replication lag", alerts.lag.limit()),
        ("Hit rate", alerts.hit_rate.limit()),
    ];
    let all = dashboards();
    for (title, limit) in limits {
        let panel = all.iter().flat_map(|(_, dashboard)| panels(dashboard)).find(|panel| panel["title"] == title);
        let steps =
            &panel.unwrap_or_else(|| panic!("no panel {title}"))["fieldConfig"]["defaults"]["thresholds"]["steps"];
        let mut wanted = [limit.fire, limit.resolve];
        wanted.sort_by(f64::total_cmp);
        let shown = [&steps[1]["value"], &steps[2]["value"]].map(|value| value.as_f64().unwrap());
        assert_eq!(shown, wanted, "{title}");
    }
}
