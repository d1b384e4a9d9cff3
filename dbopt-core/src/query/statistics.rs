//! Every statement under its fingerprint, in bounded memory.
//!
//! A text is cut and hashed once: a table remembers what it is. That table has two halves; when the younger one is full, the older one
//! is forgotten, so that texts with values written into them push nothing out that is run all the time. Fingerprints that were not
//! run for a minute make room for new ones, the longest unused first; what they had counted goes to `(other)`, as do statements that
//! find no place at all.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};

use super::fingerprint::{Fingerprint, Known, Outcome, Place, Series, Times};
use super::shape::Shape;
use crate::op::Op;

/// After so many ticks without a run a fingerprint may lose its place.
const IDLE: u32 = 60;

/// Why a statement is not told by its text, or is not analysed further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skipped {
    /// A string or a comment in it does not end.
    Unreadable,
    /// Only its beginning was looked at.
    TooLong,
    /// It was prepared in a way that was not seen.
    Unknown,
    /// It holds several statements.
    Script,
    /// It found no place.
    NoPlace,
    /// It was cancelled, so its time tells nothing.
    Cancelled,
    /// Its connection ended first.
    Lost,
}

impl Skipped {
    pub(super) const ALL: [(Skipped, &'static str); 7] = [
        (Skipped::Unreadable, "unreadable"),
        (Skipped::TooLong, "too_long"),
        (Skipped::Unknown, "unknown_text"),
        (Skipped::Script, "script"),
        (Skipped::NoPlace, "no_place"),
        (Skipped::Cancelled, "cancelled"),
        (Skipped::Lost, "lost"),
    ];
}

/// What is known of statements.
pub(super) struct Statistics {
    most: usize,
    hashes: RandomState,
    texts: RwLock<Texts>,
    by_id: Mutex<HashMap<u64, Arc<Fingerprint>>>,
    pub(super) other: Arc<Fingerprint>,
    unreadable: Arc<Fingerprint>,
    unknown: Arc<Fingerprint>,
    tick: AtomicU32,
    skipped: [AtomicU64; Skipped::ALL.len()],
}

/// What texts are, by their hash.
#[derive(Default)]
struct Texts {
    young: HashMap<u64, Known, foldhash::fast::FixedState>,
    old: HashMap<u64, Known, foldhash::fast::FixedState>,
}

impl Statistics {
    pub(super) fn new(most: usize) -> Self {
        Statistics {
            most,
            hashes: RandomState::default(),
            texts: RwLock::default(),
            by_id: Mutex::default(),
            other: Arc::new(Fingerprint::collective("(other)")),
            unreadable: Arc::new(Fingerprint::collective("(unreadable)")),
            unknown: Arc::new(Fingerprint::collective("(unknown)")),
            tick: AtomicU32::new(IDLE),
            skipped: Default::default(),
        }
    }

    /// Seconds, roughly.
    pub(super) fn now(&self) -> u32 {
        self.tick.load(Ordering::Relaxed)
    }

    /// Seconds since the start, roughly.
    pub(super) fn age(&self) -> u32 {
        self.now().saturating_sub(IDLE)
    }

    pub(super) fn skip(&self, why: Skipped) {
        self.skipped[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn skipped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Skipped::ALL.iter().map(|(why, name)| (*name, self.skipped[*why as usize].load(Ordering::Relaxed)))
    }

    /// What a text is; `cut` says that its end is missing.
    pub(super) fn recognise(&self, sql: &str, cut: bool) -> Known {
        let hash = self.hashes.hash_one((sql, cut));
        {
            let texts = self.texts.read();
            if let Some(known) = texts.young.get(&hash).or_else(|| texts.old.get(&hash))
                && !known.fingerprint.is_retired()
            {
                return known.clone();
            }
        }
        let known = self.look_at(sql, cut);
        // There may be a place for it next time.
        if Arc::ptr_eq(&known.fingerprint, &self.other) {
            return known;
        }
        let mut texts = self.texts.write();
        if texts.young.len() >= self.most {
            texts.old = std::mem::take(&mut texts.young);
        }
        texts.young.insert(hash, known.clone());
        known
    }

    #[cold]
    fn look_at(&self, sql: &str, cut: bool) -> Known {
        let shape = if cut { Some(Shape::of_beginning(sql)) } else { Shape::of(sql) };
        let Some(shape) = shape else {
            return Known::new(self.unreadable.clone(), 0, 0);
        };
        let (identifying, literals) = (shape.identifying, shape.literals);
        let fingerprint = self.placed(shape.id, || Fingerprint::new(shape, (!cut).then_some(sql)));
        Known::new(fingerprint, identifying, literals)
    }

    /// The fingerprint of that name, or a new one if there is a place.
    fn placed(&self, id: u64, make: impl FnOnce() -> Fingerprint) -> Arc<Fingerprint> {
        let mut all = self.by_id.lock();
        if let Some(known) = all.get(&id) {
            return known.clone();
        }
        if all.len() >= self.most {
            return self.other.clone();
        }
        let new = Arc::new(make());
        all.insert(id, new.clone());
        new
    }

    /// What a statement is whose text was not seen.
    pub(super) fn unseen(&self) -> Known {
        Known::new(self.unknown.clone(), 0, 0)
    }

    /// Counts one run; gives the fingerprint under which it is counted.
    pub(super) fn record<'k>(
        &self,
        known: &'k Known,
        by: (Option<&'static Op>, &Place),
        (times, rows, outcome): (&Times, u64, Outcome),
        slow: bool,
    ) -> std::borrow::Cow<'k, Arc<Fingerprint>> {
        use std::borrow::Cow;
        let count = |series: &Series| series.record(times, rows, outcome, slow);
        let fingerprint = match known.fingerprint.is_retired() {
            false => {
                known.record(self.now(), by, count);
                Cow::Borrowed(&known.fingerprint)
            }
            true => {
                let again = self.placed(known.fingerprint.id(), || known.fingerprint.again());
                again.record(self.now(), by, |series| count(series));
                Cow::Owned(again)
            }
        };
        if let Some(why) = self.why_skipped(&fingerprint, outcome) {
            self.skip(why);
        }
        fingerprint
    }

    fn why_skipped(&self, fingerprint: &Arc<Fingerprint>, outcome: Outcome) -> Option<Skipped> {
        match outcome {
            Outcome::Cancelled => return Some(Skipped::Cancelled),
            Outcome::Lost => return Some(Skipped::Lost),
            Outcome::Completed | Outcome::Failed => {}
        }
        if fingerprint.sample.is_some() || !fingerprint.kind().has_plan() && fingerprint.id() != self.other.id() {
            return None;
        }
        let is = |collective: &Arc<Fingerprint>| Arc::ptr_eq(fingerprint, collective);
        match fingerprint.shape.statements {
            _ if is(&self.other) => Some(Skipped::NoPlace),
            _ if is(&self.unreadable) => Some(Skipped::Unreadable),
            _ if is(&self.unknown) => Some(Skipped::Unknown),
            1 if fingerprint.kind().has_plan() => Some(Skipped::TooLong),
            1 => None,
            _ => Some(Skipped::Script),
        }
    }

    /// Once a second: the time goes on, and if the table is full, what was not run for long makes room.
    pub(super) fn tend(&self) {
        let now = self.tick.fetch_add(1, Ordering::Relaxed) + 1;
        let mut all = self.by_id.lock();
        if all.len() < self.most {
            return;
        }
        let mut idle: Vec<(u32, u64)> = all
            .values()
            .map(|fingerprint| (fingerprint.used_at(), fingerprint.id()))
            .filter(|(used, _)| now.saturating_sub(*used) > IDLE)
            .collect();
        idle.sort_unstable();
        idle.truncate(self.most.div_ceil(10));
        for (_, id) in idle {
            if let Some(leaving) = all.remove(&id) {
                leaving.retire_into(&self.other);
            }
        }
    }

    /// All fingerprints, with those that stand for many.
    pub(super) fn all(&self) -> Vec<Arc<Fingerprint>> {
        let mut all: Vec<_> = self.by_id.lock().values().cloned().collect();
        all.extend([&self.other, &self.unreadable, &self.unknown].map(Arc::clone));
        all
    }

    /// How many have a place.
    pub(super) fn len(&self) -> usize {
        self.by_id.lock().len()
    }
}

impl std::fmt::Debug for Statistics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statistics").field("fingerprints", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Intent, Lane};
    use std::time::Duration;

    fn run(statistics: &Statistics, sql: &str) -> Arc<Fingerprint> {
        let place = Place { node: "a".into(), lane: Lane::Read };
        let times = Times { total: Duration::from_millis(1), ..Times::default() };
        let known = statistics.recognise(sql, false);
        statistics.record(&known, (None, &place), (&times, 2, Outcome::Completed), false).into_owned()
    }

    fn count(fingerprint: &Fingerprint) -> u64 {
        fingerprint.all_series().iter().map(|series| series.counts().latency.count()).sum()
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_lost() {
        let statistics = Statistics::new(20);
        for n in 0..1000 {
            run(&statistics, &format!("SELECT a{n} FROM t"));
        }
        assert_eq!((statistics.len(), count(&statistics.other)), (20, 980));
        let texts = statistics.texts.read();
        assert!(texts.young.len() <= 20 && texts.old.len() <= 20);
        drop(texts);
        assert_eq!(statistics.skipped().find(|(name, _)| *name == "no_place").unwrap().1, 980);
        let total: u64 = statistics.all().iter().map(|fingerprint| count(fingerprint)).sum();
        assert_eq!(total, 1000);
    }

    #[test]
    fn ten_thousand_fingerprints_find_a_thousand_places() {
        let statistics = Statistics::new(1000);
        for n in 0..10_000 {
            run(&statistics, &format!("SELECT a{n} FROM t WHERE id = $1"));
            if n % 100 == 0 {
                statistics.tend();
            }
        }
        assert!(statistics.len() <= 1000, "{}", statistics.len());
        let texts = statistics.texts.read();
        assert!(texts.young.len() + texts.old.len() <= 2000);
        drop(texts);
        let total: u64 = statistics.all().iter().map(|fingerprint| count(fingerprint)).sum();
        assert_eq!(total, 10_000, "each run is counted somewhere");
    }

    #[test]
    fn what_is_not_run_for_a_minute_makes_room() {
        let statistics = Statistics::new(10);
        let held = statistics.recognise("SELECT a0 FROM t", false);
        run(&statistics, "SELECT a0 FROM t");
        statistics.tend();
        for n in 1..10 {
            run(&statistics, &format!("SELECT a{n} FROM t"));
        }
        for _ in 0..IDLE {
            statistics.tend();
            run(&statistics, "SELECT a9 FROM t");
        }
        assert_eq!(statistics.len(), 9, "a tenth");
        assert!(held.fingerprint.is_retired(), "the longest unused");
        assert_eq!(run(&statistics, "SELECT b FROM t").text().as_ref(), "SELECT b FROM t");
        let place = Place { node: "a".into(), lane: Lane::Read };
        let counted = statistics.record(&held, (None, &place), (&Times::default(), 0, Outcome::Completed), false);
        assert_eq!(counted.text().as_ref(), "(other)", "there is no place for one that comes back");
    }

    #[test]
    fn bad_texts_are_counted_with_the_reason() {
        let statistics = Statistics::new(20);
        run(&statistics, "SELECT 'oh");
        run(&statistics, "SELECT 1; SELECT 2");
        let long = format!("INSERT INTO t (a) VALUES {}", vec!["($1)"; 10_000].join(", "));
        let known = statistics.recognise(&long[..16 * 1024], true);
        assert_eq!(known.fingerprint.text().as_ref(), "INSERT INTO t (a) VALUES ($1), ..");
        let place = Place { node: "a".into(), lane: Lane::Read };
        statistics.record(&known, (None, &place), (&Times::default(), 0, Outcome::Completed), false);
        statistics.record(&known, (None, &place), (&Times::default(), 0, Outcome::Cancelled), false);
        let skipped: Vec<_> = statistics.skipped().filter(|(_, n)| *n > 0).collect();
        assert_eq!(skipped, [("unreadable", 1), ("too_long", 1), ("script", 1), ("cancelled", 1)]);
    }

    #[test]
    fn each_method_counts_for_itself_on_a_connection_that_serves_several() {
        static BOARD: Op = Op::new("Flights::board", Intent::Read);
        static SEATS: Op = Op::new("Flights::seats", Intent::Read);
        let statistics = Statistics::new(1);
        let known = statistics.recognise("SELECT a FROM t", false);
        let place = |node: &str| Place { node: node.into(), lane: Lane::Read };
        let count = |op, node| {
            statistics
                .record(&known, (op, &place(node)), (&Times::default(), 1, Outcome::Completed), false)
                .into_owned()
        };
        for (op, node) in [(&BOARD, "a"), (&SEATS, "a"), (&BOARD, "a"), (&BOARD, "b")] {
            count(Some(op), node);
        }
        let rows = |fingerprint: &Fingerprint| -> Vec<u64> {
            fingerprint.all_series().iter().map(|series| series.counts().rows).collect()
        };
        assert_eq!(rows(known.fingerprint()), [2, 1, 1]);
        // Where it was counted first is no place any more once it has lost its own.
        (0..2 * IDLE).for_each(|_| statistics.tend());
        let again = count(Some(&BOARD), "a");
        assert!(!Arc::ptr_eq(&again, known.fingerprint()));
        assert_eq!((rows(&again), rows(known.fingerprint())), (vec![1], vec![2, 1, 1]));
    }

    #[test]
    fn one_fingerprint_for_all_values() {
        let statistics = Statistics::new(20);
        let one = run(&statistics, "SELECT a FROM t WHERE b = 1");
        let two = run(&statistics, "SELECT a FROM t WHERE b = 22");
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!(one.all_series()[0].counts().rows, 4);
    }
}
