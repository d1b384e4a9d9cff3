//! What is told in the end.

use serde::{Deserialize, Serialize};

/// A method, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Such as `Flights::board`.
    pub method: String,
    /// File and line.
    pub at: Option<String>,
}

/// Who says that an index helps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "by", content = "why_not")]
pub enum Verified {
    /// The planner, about an index that HypoPG made up.
    Hypopg,
    /// The planner, about an index that was built on the scratch copy.
    Scratch,
    /// Nobody, and why.
    Nobody(String),
}

impl Verified {
    /// Whether the planner was asked.
    pub fn is_verified(&self) -> bool {
        !matches!(self, Verified::Nobody(_))
    }
}

/// A statement that an index serves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Served {
    /// Its text, without values.
    pub sql: String,
    /// Which methods run it.
    pub places: Vec<Place>,
    /// How often it was run.
    pub calls: f64,
    /// The time of all runs, in milliseconds.
    pub total_ms: f64,
    /// What the planner says it costs without the advised indexes.
    pub before: f64,
    /// And with them; none if that was not verified.
    pub after: Option<f64>,
}

/// An index that is missing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Advice {
    /// The table, with its schema.
    pub table: String,
    /// The index in short: `orders(tenant_id, created_at)`.
    pub index: String,
    /// Its name.
    pub name: String,
    /// The statement that makes it.
    pub create: String,
    /// The statement that takes it away again.
    pub drop: String,
    /// What it is for, in words.
    pub why: String,
    /// What it serves, the most important first.
    pub serves: Vec<Served>,
    /// Bytes: measured on the scratch copy, estimated by HypoPG, or by the width of its columns.
    pub size_bytes: u64,
    /// New entries it would get per second.
    pub writes_per_second: f64,
    /// The planner's cost that it saves per second, as far as it is known how often the statements run.
    pub saved_per_second: Option<f64>,
    /// Who says that it helps.
    pub verified: Verified,
}

/// An index that was thought of, and is not advised.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rejected {
    /// In short.
    pub index: String,
    /// Why not.
    pub why: String,
}

/// A statement that could not be looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Skipped {
    /// Its text, without values.
    pub sql: String,
    /// Why not.
    pub why: String,
}

/// An index that is not needed as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unneeded {
    /// `unused`, `covered` or `invalid`.
    pub kind: String,
    /// The table, with its schema.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Bytes.
    pub bytes: f64,
    /// The statement that takes it away.
    pub drop: String,
    /// Why.
    pub why: String,
}

/// All that is advised.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Indexes that are missing, the most useful first.
    pub missing: Vec<Advice>,
    /// Indexes that are not needed.
    pub unneeded: Vec<Unneeded>,
    /// What was thought of and rejected.
    pub rejected: Vec<Rejected>,
    /// Statements that were not looked at.
    pub skipped: Vec<Skipped>,
    /// How many statements were looked at.
    pub statements: usize,
    /// What could not be seen, and what follows from it.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether there is nothing to do.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.unneeded.is_empty()
    }
}
