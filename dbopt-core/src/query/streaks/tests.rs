use super::*;
use crate::op::Intent;
use crate::query::shape::Shape;

static BOARD: Op = Op::new("Flights::board", Intent::Read);
static SEATS: Op = Op::new("Flights::seats", Intent::Read);
static CREW: Op = Op::new("Flights::crew", Intent::Read);

fn statement(sql: &str) -> Arc<Fingerprint> {
    Arc::new(Fingerprint::new(Shape::of(sql).unwrap(), Some(sql)))
}

const BY_KEY: &str = "SELECT a FROM seats WHERE flight = $1";

struct Told {
    streaks: Streaks,
    now: u32,
}

impl Told {
    fn new() -> Self {
        Told { streaks: Streaks::default(), now: 10 }
    }

    fn run(&mut self, op: &'static Op, sql: &str, identity: u64) -> bool {
        let run = Run { identity, took: Duration::from_millis(2), now: self.now };
        self.streaks.note(Some(op), What::Statement(&statement(sql)), run, 5).is_some()
    }

    fn call(&mut self, op: &'static Op, identity: u64) -> bool {
        let run = Run { identity, took: Duration::ZERO, now: self.now };
        self.streaks.note(Some(op), What::Calls, run, 5).is_some()
    }
}

#[test]
fn the_fifth_run_with_other_values_tells_and_only_once() {
    let mut told = Told::new();
    told.run(&BOARD, "SELECT a FROM flights WHERE airport = $1", 0);
    let found: Vec<bool> = (0..8).map(|n| told.run(&SEATS, BY_KEY, n)).collect();
    assert_eq!(found, [false, false, false, false, true, false, false, false]);
    let streak = told.streaks.told().next().unwrap();
    assert_eq!((streak.runs, streak.outer.unwrap().name()), (8, "Flights::board"));
    assert_eq!(streak.lost(), Duration::from_millis(14));
}

#[test]
fn two_statements_in_turns_have_the_same_origin() {
    let mut told = Told::new();
    told.run(&BOARD, "SELECT a FROM flights WHERE airport = $1", 0);
    for n in 0..5 {
        told.run(&SEATS, BY_KEY, n);
        told.run(&CREW, "SELECT a FROM crew WHERE flight = $1", n);
    }
    let outers: Vec<_> = told.streaks.told().map(|streak| streak.outer.map(|op| op.name())).collect();
    assert_eq!(outers[0], Some("Flights::board"));
    assert_eq!(outers.len(), 2);
}

#[test]
fn retries_batches_and_commits_are_none() {
    let mut told = Told::new();
    for n in 0..20 {
        assert!(!told.run(&SEATS, BY_KEY, 7), "the same values");
        assert!(!told.run(&SEATS, "SELECT a FROM seats WHERE flight = ANY($1)", n));
        assert!(!told.run(&SEATS, "COMMIT", n));
        assert!(!told.run(&SEATS, "SELECT pg_advisory_xact_lock($1)", n));
        assert!(!told.run(&SEATS, "SELECT 1 FROM a; SELECT 2 FROM b", n));
    }
}

#[test]
fn what_runs_now_and_then_in_a_long_context_is_none() {
    let mut told = Told::new();
    for n in 0..50 {
        assert!(!told.run(&SEATS, BY_KEY, n));
        told.now += 3;
    }
}

#[test]
fn slow_runs_in_a_row_are_one_streak() {
    let mut told = Told::new();
    for n in 0..5 {
        told.now += 4;
        let run = Run { identity: n, took: Duration::from_secs(4), now: told.now };
        assert_eq!(told.streaks.note(Some(&SEATS), What::Statement(&statement(BY_KEY)), run, 5).is_some(), n == 4);
    }
}

#[test]
fn hits_count_as_calls_and_their_statements_are_not_told_twice() {
    let mut told = Told::new();
    let mut found = 0;
    for n in 0..9 {
        found += u32::from(told.call(&SEATS, n));
        if n < 6 {
            found += u32::from(told.run(&SEATS, BY_KEY, n));
        }
    }
    assert_eq!(found, 1);
    let streak = told.streaks.told().next().unwrap();
    assert_eq!((streak.runs, streak.hits(), streak.lost()), (9, 3, Duration::from_millis(10)));
}

#[test]
fn a_loop_inside_one_cached_call_is_told() {
    let mut told = Told::new();
    told.call(&SEATS, 1);
    assert!((0..5).any(|n| told.run(&SEATS, BY_KEY, n)));
}

#[test]
fn memory_is_bounded() {
    let mut told = Told::new();
    for n in 0..2000 {
        told.run(&SEATS, &format!("SELECT a{n} FROM t"), n);
    }
    assert_eq!(told.streaks.all.len(), MOST);
}
