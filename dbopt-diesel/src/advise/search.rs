//! The search for the smallest set of indexes that does almost as well as all that could be thought of. What is better is asked of the planner, for
//! whole sets: what one index brings depends on the others.

use std::collections::{BTreeMap, BTreeSet};

use dbopt_core::query::advise::judge::{improves, is_as_good};
use dbopt_core::query::advise::{
    Catalog, Definition, Rejected, Report, Skipped, Statement, Workload, prepared, propose, without_values,
};

use super::error::Error;
use super::laboratory::{Answer, Asked, Laboratory};

/// Indexes, by their number.
pub(super) type Set = BTreeSet<usize>;

/// A statement under examination.
pub(super) struct Case {
    pub(super) statement: Statement,
    pub(super) asked: Asked,
    /// Its cost with what is there.
    pub(super) before: f64,
    /// What was thought of for it, and whether it is worth a word without proof.
    pub(super) proposals: BTreeMap<usize, bool>,
}

/// An index that was thought of.
pub(super) struct Candidate {
    pub(super) definition: Definition,
    /// Bytes, once it was made.
    pub(super) bytes: Option<u64>,
}

/// All that is known during the search.
pub(super) struct Search<'a> {
    pub(super) laboratory: Laboratory,
    pub(super) catalog: &'a Catalog,
    pub(super) seconds: f64,
    pub(super) cases: Vec<Case>,
    pub(super) candidates: Vec<Candidate>,
    /// What each case costs with the set that is kept, and what it uses of it.
    pub(super) now: Vec<Answer>,
}

impl<'a> Search<'a> {
    /// Explains every statement as it is, and thinks of what could help it.
    pub(super) async fn begin(
        laboratory: Laboratory,
        catalog: &'a Catalog,
        workload: Workload,
        report: &mut Report,
    ) -> Result<Search<'a>, Error> {
        let mut search = Search {
            laboratory,
            catalog,
            seconds: workload.seconds,
            cases: Vec::new(),
            candidates: Vec::new(),
            now: Vec::new(),
        };
        for statement in workload.statements {
            let told = match prepared(&statement.sql) {
                Ok((text, params)) => {
                    let asked = Asked { text, params };
                    search.laboratory.plain(&asked).await?.map(|reading| (asked, reading))
                }
                Err(why) => Err(why.to_string()),
            };
            match told {
                Ok((asked, reading)) => {
                    let proposals = propose(&reading, catalog).into_iter();
                    let proposals = proposals.map(|one| (search.number(one.definition), one.likely)).collect();
                    search.cases.push(Case { statement, asked, before: reading.cost, proposals });
                }
                Err(why) => report.skipped.push(Skipped { sql: without_values(&statement.sql), why }),
            }
        }
        Ok(search)
    }

    fn number(&mut self, definition: Definition) -> usize {
        let known = self.candidates.iter().position(|candidate| candidate.definition == definition);
        known.unwrap_or_else(|| {
            self.candidates.push(Candidate { definition, bytes: None });
            self.candidates.len() - 1
        })
    }

    /// Makes the candidates, keeps the best and tells of them.
    pub(super) async fn run(&mut self, report: &mut Report) -> Result<(), Error> {
        let definitions: Vec<Definition> =
            self.candidates.iter().map(|candidate| candidate.definition.clone()).collect();
        if definitions.is_empty() {
            return Ok(());
        }
        for (at, made) in self.laboratory.make(&definitions).await?.into_iter().enumerate() {
            match made {
                Ok(bytes) => self.candidates[at].bytes = Some(bytes),
                Err(why) => report.rejected.push(Rejected { index: definitions[at].to_string(), why }),
            }
        }
        let all: Set = (0..self.candidates.len()).filter(|&at| self.candidates[at].bytes.is_some()).collect();
        let everything: Vec<usize> = (0..self.cases.len()).collect();
        self.now = self.answers(&all, &everything).await?;
        let better = self.cases.iter().zip(&self.now).filter(|(case, now)| improves(case.before, now.cost));
        let mut kept: Set = better.flat_map(|(_, now)| now.used.iter().copied()).collect();
        self.now = self.answers(&kept, &everything).await?;
        self.drop_what_is_not_missed(&mut kept).await?;
        self.replace_by_what_is_smaller(&mut kept).await?;
        self.drop_what_is_not_missed(&mut kept).await?;
        self.tell(kept, report).await
    }

    /// What cases cost with these candidates and no others; what cannot be explained any more costs what it did.
    pub(super) async fn answers(&mut self, shown: &Set, cases: &[usize]) -> Result<Vec<Answer>, Error> {
        let tables: BTreeSet<(String, String)> = cases.iter().flat_map(|&case| self.tables_of(case)).collect();
        let is_near = |&at: &usize| {
            let definition = &self.candidates[at].definition;
            self.candidates[at].bytes.is_some()
                && tables.contains(&(definition.schema.clone(), definition.table.clone()))
        };
        let nearby: Set = (0..self.candidates.len()).filter(is_near).collect();
        let shown: Set = shown.intersection(&nearby).copied().collect();
        let asked: Vec<&Asked> = cases.iter().map(|&case| &self.cases[case].asked).collect();
        let told = self.laboratory.with(&shown, &nearby, &asked).await?;
        let before = |case: usize| Answer { cost: self.cases[case].before, used: Set::new() };
        Ok(cases.iter().zip(told).map(|(&case, answer)| answer.unwrap_or_else(|| before(case))).collect())
    }

    fn tables_of(&self, case: usize) -> impl Iterator<Item = (String, String)> {
        self.cases[case].proposals.keys().map(|&at| {
            let definition = &self.candidates[at].definition;
            (definition.schema.clone(), definition.table.clone())
        })
    }

    /// The cases that use a candidate now.
    pub(super) fn users(&self, candidate: usize) -> Vec<usize> {
        (0..self.cases.len()).filter(|&case| self.now[case].used.contains(&candidate)).collect()
    }

    /// Takes away, widest first, what no statement would miss beside the others.
    async fn drop_what_is_not_missed(&mut self, kept: &mut Set) -> Result<(), Error> {
        let mut order: Vec<usize> = kept.iter().copied().collect();
        order.sort_by_key(|&at| std::cmp::Reverse(self.width(at)));
        for at in order {
            let users = self.users(at);
            let mut without = kept.clone();
            without.remove(&at);
            let told = self.answers(&without, &users).await?;
            if users
                .iter()
                .zip(&told)
                .all(|(&case, told)| is_as_good(told.cost, self.now[case].cost, self.cases[case].before))
            {
                *kept = without;
                self.learn(&users, told);
            }
        }
        Ok(())
    }

    /// Puts in the place of each the smallest that does as well.
    async fn replace_by_what_is_smaller(&mut self, kept: &mut Set) -> Result<(), Error> {
        for at in kept.clone() {
            let users = self.users(at);
            let table = &self.candidates[at].definition.table;
            let proposed: Set = users.iter().flat_map(|&case| self.cases[case].proposals.keys().copied()).collect();
            let others = proposed.into_iter().filter(|other| {
                let candidate = &self.candidates[*other];
                !kept.contains(other) && candidate.bytes.is_some() && candidate.definition.table == *table
            });
            let mut tried = vec![(at, users.iter().map(|&case| self.now[case].clone()).collect::<Vec<_>>())];
            for other in others.collect::<Vec<_>>() {
                let mut set = kept.clone();
                set.remove(&at);
                set.insert(other);
                tried.push((other, self.answers(&set, &users).await?));
            }
            let best: Vec<f64> = (0..users.len())
                .map(|n| tried.iter().map(|(_, told)| told[n].cost).fold(f64::INFINITY, f64::min))
                .collect();
            let before: Vec<f64> = users.iter().map(|&case| self.cases[case].before).collect();
            tried.retain(|(_, told)| (0..told.len()).all(|n| is_as_good(told[n].cost, best[n], before[n])));
            tried.sort_by(|(one, _), (other, _)| self.burden(*one).total_cmp(&self.burden(*other)));
            if let Some((chosen, told)) = tried.into_iter().next()
                && chosen != at
            {
                kept.remove(&at);
                kept.insert(chosen);
                self.learn(&users, told);
            }
        }
        Ok(())
    }

    pub(super) fn learn(&mut self, cases: &[usize], told: Vec<Answer>) {
        for (&case, answer) in cases.iter().zip(told) {
            self.now[case] = answer;
        }
    }

    fn width(&self, at: usize) -> (usize, bool) {
        let definition = &self.candidates[at].definition;
        (definition.keys.len(), definition.predicate.is_some())
    }

    /// What it takes, and how little else it is good for: one of some rows must be less than half as large to be preferred.
    fn burden(&self, at: usize) -> f64 {
        let (keys, partial) = self.width(at);
        let bytes = self.candidates[at].bytes.unwrap_or(u64::MAX) as f64;
        bytes * (1.0 + 0.05 * keys as f64) * if partial { 2.0 } else { 1.0 }
    }
}
