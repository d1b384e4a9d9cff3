//! A statement without its values, and what was counted of it.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::binds::Binds;
use super::plans;
use super::shape::{Kind, Shape};
use super::values;
use crate::observe::{Histogram, HistogramCounts};
use crate::op::{Lane, Op};
use crate::owner::Parts;

/// A text longer than this is not kept whole, so nobody can ask for its plan.
const SAMPLE: usize = 8 * 1024;

/// So many methods and places of one fingerprint are told apart.
const SERIES: usize = 256;

/// So many parts each of them is counted in.
const PARTS: usize = 8;

/// Seeded anew in each process: the numbers say which values were equal, never what they were.
static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// Where a connection leads.
#[derive(Debug, Clone)]
pub struct Place {
    /// The node's name.
    pub node: Arc<str>,
    /// Whose calls run on it.
    pub lane: Lane,
}

/// How a statement ended, as far as counting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server completed it.
    Completed,
    /// It was cancelled: its time says nothing about the statement.
    Cancelled,
    /// The server refused it.
    Failed,
    /// The connection ended first.
    Lost,
}

/// What is counted of a fingerprint for one method on one node and lane.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) op: Option<&'static Op>,
    pub(super) place: Place,
    /// One for each thread, as far as they reach, made at its first run: what one thread counts does not hold up another one.
    parts: Parts<Part, PARTS>,
    /// Refused, lost, cancelled.
    failures: [AtomicU64; 3],
}

/// What some of the threads have counted.
#[derive(Debug, Default)]
struct Part {
    latency: Histogram,
    rows: AtomicU64,
    slow: AtomicU64,
    first_row_nanos: AtomicU64,
    first_rows: AtomicU64,
    waited_nanos: AtomicU64,
}

/// What a [`Series`] holds at one moment.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) latency: HistogramCounts,
    pub(super) rows: u64,
    /// Refused, lost, cancelled.
    pub(super) failures: [u64; 3],
    pub(super) slow: u64,
    /// Added up as the histogram's sum is, in seconds: where all rows came at the end, both are the same number.
    pub(super) first_row: f64,
    pub(super) first_rows: u64,
    pub(super) waited_nanos: u64,
}

impl Series {
    fn new(op: Option<&'static Op>, place: Place) -> Self {
        Series { op, place, parts: Parts::default(), failures: Default::default() }
    }

    pub(super) fn record(&self, times: &Times, rows: u64, outcome: Outcome, slow: bool) {
        let part = self.parts.own();
        part.latency.record(times.total);
        add(&part.rows, rows);
        add(&part.slow, slow.into());
        add(&part.waited_nanos, times.waited.as_nanos() as u64);
        if let Some(first) = times.first_row {
            add(&part.first_rows, 1);
            add(&part.first_row_nanos, first.as_nanos() as u64);
        }
        match outcome {
            Outcome::Completed => {}
            Outcome::Failed => add(&self.failures[0], 1),
            Outcome::Lost => add(&self.failures[1], 1),
            Outcome::Cancelled => add(&self.failures[2], 1),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut sum = Counts { failures: [0, 1, 2].map(|i| load(&self.failures[i])), ..Counts::default() };
        for part in self.parts.iter() {
            sum.latency.add(&part.latency.counts());
            sum.rows += load(&part.rows);
            sum.slow += load(&part.slow);
            sum.first_row += load(&part.first_row_nanos) as f64 / 1e9;
            sum.first_rows += load(&part.first_rows);
            sum.waited_nanos += load(&part.waited_nanos);
        }
        sum
    }

    fn absorb(&self, other: &Counts) {
        let part = self.parts.own();
        part.latency.absorb(&other.latency);
        add(&part.rows, other.rows);
        add(&part.slow, other.slow);
        add(&part.first_row_nanos, (other.first_row * 1e9) as u64);
        add(&part.first_rows, other.first_rows);
        add(&part.waited_nanos, other.waited_nanos);
        for (mine, theirs) in self.failures.iter().zip(other.failures) {
            add(mine, theirs);
        }
    }
}

fn add(counter: &AtomicU64, n: u64) {
    if n > 0 {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// The parts of a statement's time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// What its call waited for a connection; of a call's first statement only.
    pub waited: Duration,
    /// From the moment it was sent to its first row.
    pub first_row: Option<Duration>,
    /// From the moment it was sent to its end.
    pub total: Duration,
}

/// A statement without its values.
pub struct Fingerprint {
    pub(super) shape: Shape,
    pub(super) text: Arc<str>,
    /// A text of it as it was sent, for the planner only.
    pub(super) sample: Option<Arc<str>>,
    types: OnceLock<Box<[u32]>>,
    /// The tick at which it was run last.
    used: AtomicU32,
    /// It has lost its place: it counts anew, under another one.
    retired: AtomicBool,
    series: ArcSwap<Vec<Arc<Series>>>,
    adding: Mutex<()>,
    pub(super) plan: Mutex<plans::Known>,
}

impl Fingerprint {
    pub(super) fn new(mut shape: Shape, sql: Option<&str>) -> Self {
        let sample = sql.filter(|sql| sql.len() <= SAMPLE && shape.kind.has_plan() && shape.statements == 1);
        let text: Arc<str> = std::mem::take(&mut shape.text).into();
        Fingerprint {
            sample: sample.map(Arc::from),
            text,
            shape,
            types: OnceLock::new(),
            used: AtomicU32::new(0),
            retired: AtomicBool::new(false),
            series: ArcSwap::default(),
            adding: Mutex::new(()),
            plan: Mutex::default(),
        }
    }

    /// One that stands for many, such as for those that found no place.
    pub(super) fn collective(text: &str) -> Self {
        let mut shape = Shape::of_beginning("");
        (shape.kind, shape.text) = (Kind::Utility, text.to_owned());
        Fingerprint::new(shape, None)
    }

    /// The same in a place of its own.
    pub(super) fn again(&self) -> Self {
        let mut shape = self.shape.clone();
        shape.text = self.text.to_string();
        let again = Fingerprint::new(shape, self.sample.as_deref());
        if let Some(types) = self.types.get() {
            again.has_types(types.clone());
        }
        again
    }

    /// Its name: the same in all processes.
    pub fn id(&self) -> u64 {
        self.shape.id
    }

    /// Its text, without values.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// What it does.
    pub fn kind(&self) -> Kind {
        self.shape.kind
    }

    /// Whether it is dbopt's own question.
    pub fn is_own(&self) -> bool {
        self.shape.own
    }

    /// The types of its placeholders, as PostgreSQL numbers them, once they are known.
    pub fn types(&self) -> &[u32] {
        self.types.get().map(AsRef::as_ref).unwrap_or_default()
    }

    pub(super) fn has_types(&self, types: Box<[u32]>) {
        let _known_already = self.types.set(types);
    }

    /// Whether the planner may be asked about it with values that were bound: none stands in its text, as servers keep the texts that they explain.
    pub(super) fn takes_values(&self) -> bool {
        self.sample.is_some() && self.shape.params > 0 && !self.is_own() && !self.text.contains('?')
    }

    fn used_now(&self, now: u32) {
        if self.used_at() != now {
            self.used.store(now, Ordering::Relaxed);
        }
    }

    pub(super) fn used_at(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub(super) fn all_series(&self) -> Arc<Vec<Arc<Series>>> {
        self.series.load_full()
    }

    /// Counts one run, at the tick `now`.
    pub(super) fn record(
        &self,
        now: u32,
        (op, place): (Option<&'static Op>, &Place),
        count: impl FnOnce(&Arc<Series>),
    ) {
        self.used_now(now);
        let known = self.series.load();
        match known.iter().find(|series| is_of(series, op, place)) {
            Some(series) => count(series),
            None => count(&self.add(op, place)),
        }
    }

    #[cold]
    fn add(&self, op: Option<&'static Op>, place: &Place) -> Arc<Series> {
        let _one_at_a_time = self.adding.lock();
        let known = self.series.load_full();
        if let Some(series) = known.iter().find(|series| is_of(series, op, place)) {
            return series.clone();
        }
        // Nodes come and go: what is too many is put together.
        let added = if known.len() < SERIES {
            Series::new(op, place.clone())
        } else {
            let other = Place { node: "(other)".into(), lane: place.lane };
            match known.iter().find(|series| is_of(series, None, &other)) {
                Some(series) => return series.clone(),
                None => Series::new(None, other),
            }
        };
        let added = Arc::new(added);
        let mut all = Vec::clone(&known);
        all.push(added.clone());
        self.series.store(Arc::new(all));
        added
    }

    /// Gives its place up: what it counted is `other`'s.
    pub(super) fn retire_into(&self, other: &Fingerprint) {
        self.retired.store(true, Ordering::Release);
        for series in self.series.load().iter() {
            other.record(other.used_at(), (series.op, &series.place), |mine| mine.absorb(&series.counts()));
        }
    }
}

fn is_of(series: &Series, op: Option<&'static Op>, place: &Place) -> bool {
    let same_op = match (series.op, op) {
        (Some(one), Some(other)) => std::ptr::eq(one, other),
        (None, None) => true,
        _ => false,
    };
    let same_node = Arc::ptr_eq(&series.place.node, &place.node) || series.place.node == place.node;
    same_op && series.place.lane == place.lane && same_node
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fingerprint").field("text", &self.text).finish_non_exhaustive()
    }
}

/// A text that was recognised: its fingerprint, and where in it values stand that say which rows are meant.
#[derive(Debug)]
pub struct Known {
    pub(super) fingerprint: Arc<Fingerprint>,
    pub(super) identifying: u64,
    pub(super) literals: u64,
    /// Where its first run was counted: on one connection it is mostly run by one method.
    counted: OnceLock<Arc<Series>>,
}

impl Clone for Known {
    /// The same text for another connection, which has its own place.
    fn clone(&self) -> Self {
        Known::new(self.fingerprint.clone(), self.identifying, self.literals)
    }
}

impl Known {
    pub(super) fn new(fingerprint: Arc<Fingerprint>, identifying: u64, literals: u64) -> Self {
        Known { fingerprint, identifying, literals, counted: OnceLock::new() }
    }

    /// Counts one run under its own fingerprint, at the tick `now`.
    pub(super) fn record(&self, now: u32, by: (Option<&'static Op>, &Place), count: impl FnOnce(&Series)) {
        match self.counted.get().filter(|series| is_of(series, by.0, by.1)) {
            Some(series) => {
                self.fingerprint.used_now(now);
                count(series);
            }
            None => self.fingerprint.record(now, by, |series| {
                count(series);
                let _known_already = self.counted.set(series.clone());
            }),
        }
    }

    /// The statement without its values.
    pub fn fingerprint(&self) -> &Arc<Fingerprint> {
        &self.fingerprint
    }

    /// Notes the types of the placeholders, as the server told them.
    pub fn has_types(&self, types: impl FnOnce() -> Vec<u32>) {
        if self.fingerprint.types.get().is_none() {
            self.fingerprint.has_types(types().into());
        }
    }

    /// Bound values as text, of what [`Known::identity`] takes.
    pub fn values(&self, binds: &[u8]) -> Vec<String> {
        values::shown(binds, self.fingerprint.types())
    }

    /// A number that is the same for runs that mean the same rows. `binds` are the bound values as the protocol has them, behind the
    /// names of a Bind message; they may be cut. Nothing of them is kept.
    pub fn identity(&self, binds: &[u8]) -> u64 {
        let mut hasher = HASHES.build_hasher();
        hasher.write_u64(self.literals);
        if self.identifying != 0 {
            hash_identifying(&mut hasher, binds, self.identifying);
        }
        hasher.finish()
    }
}

fn hash_identifying(hasher: &mut impl Hasher, binds: &[u8], identifying: u64) {
    let Some(binds) = Binds::of(binds) else { return };
    for (i, bound) in binds.values().take(64).enumerate() {
        if identifying & (1 << i) != 0 {
            hasher.write_i32(bound.length);
            hasher.write(bound.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(sql: &str) -> Known {
        let shape = Shape::of(sql).unwrap();
        let (identifying, literals) = (shape.identifying, shape.literals);
        Known::new(Arc::new(Fingerprint::new(shape, Some(sql))), identifying, literals)
    }

    fn binds(values: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 1];
        bytes.extend((values.len() as u16).to_be_bytes());
        for value in values {
            bytes.extend((value.len() as i32).to_be_bytes());
            bytes.extend(*value);
        }
        bytes
    }

    #[test]
    fn a_page_does_not_change_who_is_meant_and_a_key_does() {
        let page = known("SELECT * FROM t WHERE a = $1 LIMIT $2 OFFSET $3");
        let identity = |a: &[u8], offset: &[u8]| page.identity(&binds(&[a, b"10", offset]));
        assert_eq!(identity(b"x", b"0"), identity(b"x", b"10"));
        assert_ne!(identity(b"x", b"0"), identity(b"y", b"0"));
    }

    #[test]
    fn cut_or_broken_values_are_survived() {
        let key = known("SELECT * FROM t WHERE a = $1 AND b = $2");
        let whole = binds(&[b"abc", b"defgh"]);
        for end in 0..whole.len() {
            key.identity(&whole[..end]);
        }
        assert_eq!(key.identity(&whole), key.identity(&whole));
    }

    #[test]
    fn what_threads_count_at_once_is_all_there() {
        let threads = 2 * PARTS as u64;
        let series = Series::new(None, Place { node: "a".into(), lane: Lane::Read });
        let times = Times { total: Duration::from_millis(2), ..Times::default() };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..1000).for_each(|_| series.record(&times, 3, Outcome::Failed, true)));
            }
        });
        let counts = series.counts();
        let runs = threads * 1000;
        assert_eq!(
            (counts.latency.count(), counts.rows, counts.failures, counts.slow),
            (runs, 3 * runs, [runs, 0, 0], runs)
        );
    }

    #[test]
    fn rows_that_all_came_at_the_end_came_no_later_than_that() {
        for nanos in (200_000..400_000).step_by(991) {
            let series = Series::new(None, Place { node: "a".into(), lane: Lane::Read });
            let total = Duration::from_nanos(nanos);
            let times = Times { total, first_row: Some(total), ..Times::default() };
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| series.record(&times, 1, Outcome::Completed, false));
                }
            });
            let counts = series.counts();
            assert_eq!((counts.first_row, counts.first_rows), (counts.latency.sum, 3));
        }
    }

    #[test]
    fn scripts_and_long_texts_have_no_sample() {
        assert!(known("SELECT 1").fingerprint.sample.is_some());
        assert!(known("SELECT 1; SELECT 2").fingerprint.sample.is_none());
        assert!(known("COMMIT").fingerprint.sample.is_none());
        assert!(known(&format!("SELECT {} 1", "1,".repeat(5000))).fingerprint.sample.is_none());
    }
}
