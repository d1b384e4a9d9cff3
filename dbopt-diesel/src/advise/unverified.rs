//! Advice where nobody can be asked whether it is right: only what is plain to see, and it says so.

use std::collections::BTreeMap;

use dbopt_core::query::advise::{Report, judge};

use super::final_word::{most_useful_first, served_by};
use super::search::Search;

/// Tells of the first candidate of each table that is read for few of its rows.
pub(super) fn tell(search: &Search<'_>, report: &mut Report) {
    let mut wanted: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (number, case) in search.cases.iter().enumerate().filter(|(_, case)| case.before >= judge::QUICK) {
        for (&at, _) in case.proposals.iter().filter(|(_, likely)| **likely) {
            wanted.entry(at).or_default().push(number);
        }
    }
    // Whose keys another one begins with, that one serves.
    let all: Vec<usize> = wanted.keys().copied().collect();
    for &at in &all {
        let mine = &search.candidates[at].definition;
        let longer = all.iter().find(|&&other| {
            let theirs = &search.candidates[other].definition;
            mine.table == theirs.table
                && mine.schema == theirs.schema
                && mine.predicate == theirs.predicate
                && mine.keys.len() < theirs.keys.len()
                && theirs.keys.starts_with(&mine.keys)
        });
        if let Some(longer) = longer
            && let Some(cases) = wanted.remove(&at)
        {
            wanted.entry(*longer).or_default().extend(cases);
        }
    }
    for (at, cases) in wanted {
        let definition = &search.candidates[at].definition;
        let bytes =
            search.catalog.table(&definition.schema, &definition.table).map_or(0, |table| definition.estimate(table));
        let serves = cases.iter().map(|&case| served_by(&search.cases[case], None)).collect();
        let figures = (bytes, search.writes(definition), None);
        let advice = search.advice(definition, serves, figures, search.laboratory.verified(), &report.missing);
        report.missing.push(advice);
    }
    report.missing.sort_by(most_useful_first);
}
