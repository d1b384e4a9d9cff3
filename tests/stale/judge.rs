//! Whether a history keeps what dbopt promises. Pure.
//!
//! The registers' versions only grow, so it is enough to look at the largest version that was acknowledged before a read began.

use std::collections::HashMap;

use super::history::{Method, Record};

/// What a read may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// A caller sees what was acknowledged in its own context, also in another process.
    OwnWrites,
    /// A strong reader sees what was acknowledged to anybody.
    Strong,
    /// Nobody sees what was not written yet: a version that a later write was given.
    Uncommitted,
}

impl Rule {
    pub(crate) const ALL: [Rule; 3] = [Rule::OwnWrites, Rule::Strong, Rule::Uncommitted];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Rule::OwnWrites => "older than an own write",
            Rule::Strong => "strong, older than any write",
            Rule::Uncommitted => "not written yet",
        }
    }
}

/// A read that should not have returned what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) read: Record,
    pub(crate) write: Record,
}

/// What the judge found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Operations that returned a version.
    pub(crate) operations: u64,
    /// Operations that failed.
    pub(crate) failed: u64,
    /// Comparisons of a read with a write that it had to see.
    pub(crate) compared: u64,
    pub(crate) violations: Vec<Violation>,
}

/// The acknowledged writes of one register: the end of each, in order, with the one of the largest version up to there.
#[derive(Default)]
struct Acknowledged(Vec<(u64, Record)>);

impl Acknowledged {
    fn add(&mut self, write: &Record) {
        self.0.push((write.end, *write));
    }

    fn settle(&mut self) {
        self.0.sort_by_key(|(end, _)| *end);
        let mut largest: Option<Record> = None;
        for (_, write) in &mut self.0 {
            match largest {
                Some(known) if known.version >= write.version => *write = known,
                _ => largest = Some(*write),
            }
        }
    }

    /// The largest version that was acknowledged before `start`.
    fn before(&self, start: u64) -> Option<&Record> {
        let count = self.0.partition_point(|(end, _)| *end < start);
        self.0[..count].last().map(|(_, write)| write)
    }
}

/// Judges a whole history, in any order.
pub(crate) fn judge(history: &[Record]) -> Verdict {
    let (mut anywhere, mut own): (HashMap<u32, Acknowledged>, HashMap<(u64, u32), Acknowledged>) = Default::default();
    let mut written: HashMap<(u32, i64), &Record> = HashMap::new();
    let mut verdict = Verdict::default();
    for record in history {
        let Some(version) = record.version else {
            verdict.failed += 1;
            continue;
        };
        verdict.operations += 1;
        if record.method.is_read() {
            continue;
        }
        anywhere.entry(record.key).or_default().add(record);
        written.insert((record.key, version), record);
        if record.context != 0 {
            own.entry((record.context, record.key)).or_default().add(record);
        }
    }
    anywhere.values_mut().chain(own.values_mut()).for_each(Acknowledged::settle);
    for read in history.iter().filter(|record| record.method.is_read()) {
        let Some(version) = read.version else { continue };
        let mine = own.get(&(read.context, read.key)).and_then(|writes| writes.before(read.start));
        let strong = (read.method == Method::Strong).then(|| anywhere.get(&read.key)?.before(read.start)).flatten();
        for (rule, write) in [(Rule::OwnWrites, mine), (Rule::Strong, strong)] {
            let Some(write) = write else { continue };
            verdict.compared += 1;
            if Some(version) < write.version {
                verdict.violations.push(Violation { rule, read: *read, write: *write });
            }
        }
        if let Some(write) = written.get(&(read.key, version))
            && read.end < write.start
        {
            verdict.violations.push(Violation { rule: Rule::Uncommitted, read: *read, write: **write });
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(process: u32, context: u64, method: Method, span: (u64, u64), version: i64) -> Record {
        let version = (version >= 0).then_some(version);
        Record { process, context, key: 0, method, start: span.0, end: span.1, version }
    }

    fn rules(history: &[Record]) -> Vec<Rule> {
        judge(history).violations.iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn a_context_must_see_its_own_writes_in_any_process() {
        let write = record(1, 7, Method::Write, (0, 10), 5);
        assert_eq!(rules(&[record(2, 7, Method::Cached, (11, 12), 4), write]), [Rule::OwnWrites]);
        assert_eq!(rules(&[record(2, 8, Method::Cached, (11, 12), 4), write]), []);
        assert_eq!(
            rules(&[record(2, 7, Method::Cached, (9, 12), 4), write]),
            [],
            "it began before the acknowledgement"
        );
        assert_eq!(rules(&[record(2, 7, Method::Cached, (11, 12), 6), write]), []);
        assert_eq!(rules(&[record(2, 7, Method::Cached, (11, 12), -1), write]), [], "an error is no answer");
    }

    #[test]
    fn a_strong_reader_must_see_everybodys() {
        let write = record(1, 7, Method::Write, (0, 10), 5);
        assert_eq!(rules(&[write, record(2, 0, Method::Strong, (11, 12), 4)]), [Rule::Strong]);
        assert_eq!(rules(&[record(1, 7, Method::Write, (0, 10), -1), record(2, 0, Method::Strong, (11, 12), 4)]), []);
    }

    #[test]
    fn the_largest_version_counts_in_whatever_order_writes_were_acknowledged() {
        let history = [
            record(1, 0, Method::Write, (0, 10), 5),
            record(2, 0, Method::Write, (1, 20), 4),
            record(3, 0, Method::Strong, (21, 22), 4),
        ];
        let verdict = judge(&history);
        assert_eq!(verdict.violations.len(), 1);
        assert_eq!((verdict.violations[0].write.process, verdict.compared), (1, 1));
    }

    #[test]
    fn nobody_sees_what_a_later_write_was_given() {
        let write = record(1, 0, Method::Write, (10, 20), 5);
        assert_eq!(rules(&[write, record(2, 0, Method::Cached, (1, 9), 5)]), [Rule::Uncommitted]);
        assert_eq!(rules(&[write, record(2, 0, Method::Cached, (1, 11), 5)]), [], "committed, not yet acknowledged");
    }

    fn histories() -> impl Strategy<Value = Vec<Record>> {
        let one = (0..3u32, 0..3u64, 0..2u32, 0..Method::ALL.len(), 0..60u64, 0..8u64, -1..6i64);
        let record = one.prop_map(|(process, context, key, method, start, length, version)| Record {
            process,
            context,
            key,
            method: Method::ALL[method],
            start,
            end: start + length,
            version: (version >= 0).then_some(version),
        });
        proptest::collection::vec(record, 0..60)
    }

    proptest! {
        /// The definition, word for word, finds the same reads.
        #[test]
        fn it_finds_what_the_definition_says(history in histories()) {
            let mut found: Vec<(Rule, Record)> = judge(&history).violations.iter().map(|v| (v.rule, v.read)).collect();
            found.retain(|(rule, _)| *rule != Rule::Uncommitted);
            let mut wanted = Vec::new();
            for read in history.iter().filter(|r| r.method.is_read() && r.version.is_some()) {
                let missed = |own: bool| history.iter().any(|write| {
                    !write.method.is_read() && write.key == read.key && write.version > read.version && write.end < read.start
                        && (!own || write.context == read.context && write.context != 0)
                });
                if missed(true) {
                    wanted.push((Rule::OwnWrites, *read));
                }
                if read.method == Method::Strong && missed(false) {
                    wanted.push((Rule::Strong, *read));
                }
            }
            prop_assert_eq!(found, wanted);
        }

        /// Registers that are written and read one operation after the other never break a rule.
        #[test]
        fn a_serial_history_is_faultless(steps in proptest::collection::vec((0..3u64, 0..2u32, any::<bool>()), 0..80)) {
            let mut versions = [0i64; 2];
            let history: Vec<Record> = steps.into_iter().enumerate().map(|(step, (context, key, writes))| {
                versions[key as usize] += i64::from(writes);
                let method = if writes { Method::Write } else { Method::Strong };
                let (start, version) = (step as u64 * 10, Some(versions[key as usize]));
                Record { process: 0, context, key, method, start, end: start + 5, version }
            }).collect();
            prop_assert_eq!(judge(&history).violations, vec![]);
        }
    }
}
