//! What is told of the indexes that were kept: what they serve, what they bring and cost, and which of them do not pay.

use std::cmp::Ordering;

use dbopt_core::query::advise::judge::{improves, too_dear};
use dbopt_core::query::advise::{Advice, Definition, Rejected, Report, Served, Verified, without_values};

use super::error::Error;
use super::search::{Case, Search, Set};

impl Search<'_> {
    /// Judges each by what would be without it.
    pub(super) async fn tell(&mut self, kept: Set, report: &mut Report) -> Result<(), Error> {
        let mut good = kept.clone();
        let mut found = Vec::new();
        for &at in &kept {
            let users = self.users(at);
            let mut without = good.clone();
            without.remove(&at);
            let told = self.answers(&without, &users).await?;
            let costs: Vec<(usize, f64)> = users.iter().zip(&told).map(|(&case, told)| (case, told.cost)).collect();
            let served: Vec<usize> = costs
                .iter()
                .filter(|(case, without)| improves(*without, self.now[*case].cost))
                .map(|(case, _)| *case)
                .collect();
            let definition = self.candidates[at].definition.clone();
            let writes = self.writes(&definition);
            let saves =
                |(case, without): &(usize, f64)| self.cases[*case].statement.calls * (without - self.now[*case].cost);
            let saved = (self.seconds > 0.0).then(|| costs.iter().map(saves).sum::<f64>() / self.seconds);
            let why = if served.is_empty() {
                Some("the planner's cost does not fall enough for any statement".to_owned())
            } else {
                too_dear(saved, writes)
            };
            match why {
                Some(why) => {
                    good = without;
                    self.learn(&users, told);
                    report.rejected.push(Rejected { index: definition.to_string(), why });
                }
                None => found.push((at, served, saved, writes)),
            }
        }
        let verified = self.laboratory.verified();
        for (at, served, saved, writes) in found {
            let definition = self.candidates[at].definition.clone();
            let bytes = self.candidates[at].bytes.unwrap_or(0);
            let served: Vec<Served> =
                served.iter().map(|&case| served_by(&self.cases[case], Some(self.now[case].cost))).collect();
            let advice = self.advice(&definition, served, (bytes, writes, saved), verified.clone(), &report.missing);
            report.missing.push(advice);
        }
        report.missing.sort_by(most_useful_first);
        Ok(())
    }

    pub(super) fn writes(&self, definition: &Definition) -> f64 {
        let table = self.catalog.table(&definition.schema, &definition.table);
        table.map_or(0.0, |table| table.writes_per_second(self.catalog.counted_seconds))
    }

    pub(super) fn advice(
        &self,
        definition: &Definition,
        mut serves: Vec<Served>,
        (size_bytes, writes_per_second, saved_per_second): (u64, f64, Option<f64>),
        verified: Verified,
        others: &[Advice],
    ) -> Advice {
        serves.sort_by(|one, other| weight(other).total_cmp(&weight(one)));
        let indexes = self.catalog.tables.iter().flat_map(|table| &table.indexes).map(|index| index.name.clone());
        let taken: Vec<String> = indexes.chain(others.iter().map(|advice| advice.name.clone())).collect();
        let name = definition.name(&taken);
        let count = serves.len();
        let what =
            if count == 1 { "1 statement, which" } else { &format!("{count} statements, the foremost of which") };
        let why = match serves.first() {
            Some(Served { before, after: Some(after), .. }) => {
                format!("{what} costs {after:.0} with it and {before:.0} without")
            }
            Some(Served { before, .. }) => {
                format!("{what} costs {before:.0} and reads the table for few of its rows")
            }
            None => String::new(),
        };
        Advice {
            table: format!("{}.{}", definition.schema, definition.table),
            index: definition.to_string(),
            create: definition.create(&name),
            drop: definition.drop(&name),
            name,
            why,
            serves,
            size_bytes,
            writes_per_second,
            saved_per_second,
            verified,
        }
    }
}

pub(super) fn served_by(case: &Case, after: Option<f64>) -> Served {
    Served {
        sql: without_values(&case.statement.sql),
        places: case.statement.places.clone(),
        calls: case.statement.calls,
        total_ms: case.statement.total_ms,
        before: case.before,
        after,
    }
}

fn weight(served: &Served) -> f64 {
    served.calls * (served.before - served.after.unwrap_or(0.0))
}

pub(super) fn most_useful_first(one: &Advice, other: &Advice) -> Ordering {
    let brings = |advice: &Advice| advice.serves.iter().map(weight).sum::<f64>();
    brings(other).total_cmp(&brings(one))
}
