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

/// So much of each list is kept of a report that is shown all the time.
const KEPT: usize = 20;

/// So many statements are kept of what an index serves.
const SERVED: usize = 5;

impl Report {
    /// Whether there is nothing to do.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.unneeded.is_empty()
    }

    /// How many indexes there are of each kind: missing and verified, missing by the look of it, unused, covered by another, invalid.
    pub fn counts(&self) -> [(&'static str, usize); 5] {
        let verified = self.missing.iter().filter(|advice| advice.verified.is_verified()).count();
        let unneeded = |kind: &'static str| (kind, self.unneeded.iter().filter(|index| index.kind == kind).count());
        [
            ("missing", verified),
            ("unverified", self.missing.len() - verified),
            unneeded("unused"),
            unneeded("covered"),
            unneeded("invalid"),
        ]
    }

    /// The foremost of each list, with a note of what was left out.
    pub(crate) fn shortened(mut self) -> Report {
        let lists = [
            ("missing indexes", self.missing.len()),
            ("indexes that are not needed", self.unneeded.len()),
            ("rejected indexes", self.rejected.len()),
            ("statements that were not looked at", self.skipped.len()),
        ];
        self.notes.truncate(KEPT);
        for (what, count) in lists.into_iter().filter(|(_, count)| *count > KEPT) {
            self.notes.push(format!("{} more {what}: dbopt advise --all shows them", count - KEPT));
        }
        self.missing.truncate(KEPT);
        self.unneeded.truncate(KEPT);
        self.rejected.truncate(KEPT);
        self.skipped.truncate(KEPT);
        for advice in &mut self.missing {
            advice.serves.truncate(SERVED);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(missing: usize) -> Report {
        let advice = |n: usize| Advice {
            table: "public.t".into(),
            index: format!("t(c{n})"),
            name: String::new(),
            create: String::new(),
            drop: String::new(),
            why: String::new(),
            serves: Vec::new(),
            size_bytes: 0,
            writes_per_second: 0.0,
            saved_per_second: None,
            verified: if usize::is_multiple_of(n, 2) { Verified::Hypopg } else { Verified::Nobody("why".into()) },
        };
        let unneeded = |kind: &str| Unneeded {
            kind: kind.into(),
            table: "public.t".into(),
            name: kind.into(),
            bytes: 0.0,
            drop: String::new(),
            why: String::new(),
        };
        Report {
            missing: (0..missing).map(advice).collect(),
            unneeded: ["covered", "invalid", "covered"].map(unneeded).into(),
            rejected: Vec::new(),
            skipped: Vec::new(),
            statements: 1,
            notes: Vec::new(),
        }
    }

    #[test]
    fn each_kind_is_counted() {
        let counted = report(5).counts();
        assert_eq!(counted, [("missing", 3), ("unverified", 2), ("unused", 0), ("covered", 2), ("invalid", 1)]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_says_what_is_missing_from_it() {
        let short = report(50).shortened();
        assert_eq!((short.missing.len(), short.missing[0].index.as_str()), (KEPT, "t(c0)"));
        assert_eq!(short.notes, ["30 more missing indexes: dbopt advise --all shows them"]);
        assert!(report(KEPT).shortened().notes.is_empty());
    }
}
