//! The statements that advice is for, wherever they were counted.

use serde_json::Value;

use super::report::Place;
use crate::query::status::InsightStatus;

/// A statement, and how often it is run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statement {
    /// Its text, with `$1` or `?` where values stood.
    pub sql: String,
    /// How often it was run.
    pub calls: f64,
    /// The time of all runs, in milliseconds.
    pub total_ms: f64,
    /// Which methods run it.
    pub places: Vec<Place>,
}

/// Statements, counted over a time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Workload {
    /// They.
    pub statements: Vec<Statement>,
    /// For how long they were counted, in seconds; 0 if nobody knows.
    pub seconds: f64,
    /// What of it could not be seen.
    pub notes: Vec<String>,
}

impl Workload {
    /// Adds what another server has counted; over the longer of both times.
    pub fn absorb(&mut self, other: Workload) {
        for statement in other.statements {
            match self.statements.iter_mut().find(|known| known.sql == statement.sql) {
                Some(known) => {
                    known.calls += statement.calls;
                    known.total_ms += statement.total_ms;
                }
                None => self.statements.push(statement),
            }
        }
        self.seconds = self.seconds.max(other.seconds);
        self.notes.extend(other.notes);
    }

    /// What an application knows of its own statements.
    pub fn of_insight(insight: &InsightStatus) -> Workload {
        serde_json::to_value(insight).map_or_else(|_| Workload::default(), |told| Workload::of_json(&told))
    }

    /// The same from what `/metrics/json` tells under `insight`.
    pub fn of_json(insight: &Value) -> Workload {
        let all = insight["statements"].as_array().into_iter().flatten();
        let own = |statement: &&Value| statement["own"] == true || statement["kind"] == "utility";
        let statements: Vec<Statement> = all.filter(|statement| !own(statement)).filter_map(of_json).collect();
        let mut notes = Vec::new();
        if insight["enabled"] == false {
            notes.push("insight.enabled is false: the application counts no statements".to_owned());
        }
        for skipped in insight["skipped"].as_array().into_iter().flatten() {
            if let (Some(why), Some(count @ 1..)) = (skipped[0].as_str(), skipped[1].as_u64())
                && matches!(why, "no_place" | "unknown_text" | "too_long")
            {
                notes.push(format!("{count} runs of statements were not looked at ({why})"));
            }
        }
        Workload { statements, seconds: insight["counted_seconds"].as_f64().unwrap_or(0.0), notes }
    }
}

fn of_json(told: &Value) -> Option<Statement> {
    let runs = told["runs"].as_array()?;
    let mut statement = Statement {
        sql: told["sql"].as_str()?.to_owned(),
        calls: runs.iter().filter_map(|run| run["count"].as_f64()).sum(),
        total_ms: told["total_ms"].as_f64().unwrap_or(0.0),
        places: Vec::new(),
    };
    for run in runs {
        if let Some(method) = run["method"].as_str() {
            let place = Place { method: method.to_owned(), at: run["at"].as_str().map(str::to_owned) };
            if !statement.places.contains(&place) {
                statement.places.push(place);
            }
        }
    }
    Some(statement)
}
