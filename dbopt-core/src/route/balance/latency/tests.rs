//! What makes a replica slow, and what does not.

use super::*;
use crate::observe::{Calls, Outcome};
use crate::op::{Intent, Op};
use std::time::Duration;

static QUICK: Op = Op::new("Things::quick", Intent::Read);
static HEAVY: Op = Op::new("Things::heavy", Intent::Read);

struct Bench {
    calls: Calls,
    latencies: Latencies,
    faults: Vec<u64>,
}

fn bench(nodes: usize) -> Bench {
    Bench { calls: Calls::new(nodes), latencies: Latencies::default(), faults: vec![0; nodes] }
}

impl Bench {
    fn ran(&self, op: &'static Op, node: usize, calls: u64, millis: f64) {
        for n in 0..calls {
            // Some scatter, as there always is.
            let took = Duration::from_secs_f64(millis / 1e3 * (0.7 + 0.6 * (n % 7) as f64 / 6.0));
            self.calls.method(op).series(node, Lane::Read).record(Outcome::Ok, took);
        }
    }

    fn second(&mut self) -> Vec<f64> {
        let compared = vec![true; self.faults.len()];
        self.latencies.learn(&self.calls.counts(), &self.faults, &compared, 1.0);
        (0..self.faults.len()).map(|node| self.latencies.slowness(node)).collect()
    }
}

#[test]
fn a_replica_that_turns_slow_is_known_after_a_second() {
    let mut bench = bench(3);
    for _ in 0..20 {
        (0..3).for_each(|node| bench.ran(&QUICK, node, 100, 2.0));
        assert_eq!(bench.second(), [1.0; 3]);
    }
    (0..2).for_each(|node| bench.ran(&QUICK, node, 100, 2.0));
    bench.ran(&QUICK, 2, 30, 302.0);
    let slowness = bench.second();
    assert!(slowness[0] == 1.0 && slowness[1] == 1.0 && slowness[2] > 50.0, "{slowness:?}");
}

#[test]
fn the_mix_of_methods_makes_nobody_slow() {
    let mut bench = bench(2);
    for _ in 0..10 {
        bench.ran(&QUICK, 0, 300, 1.0);
        bench.ran(&HEAVY, 0, 10, 200.0);
        bench.ran(&QUICK, 1, 100, 1.0);
        bench.ran(&HEAVY, 1, 100, 200.0);
        assert!(bench.second().iter().all(|slowness| *slowness < 1.05));
    }
}

#[test]
fn one_stall_among_a_hundred_calls_is_chance() {
    let mut bench = bench(2);
    for _ in 0..5 {
        bench.ran(&QUICK, 0, 100, 1.0);
        bench.ran(&QUICK, 1, 99, 1.0);
        bench.ran(&QUICK, 1, 1, 400.0);
        assert_eq!(bench.second()[1], 1.0);
        (0..2).for_each(|_| drop(bench.second()));
    }
}

#[test]
fn failing_quickly_is_not_being_fast() {
    let mut bench = bench(2);
    for _ in 0..5 {
        bench.ran(&QUICK, 0, 100, 5.0);
        bench.ran(&QUICK, 1, 50, 5.0);
        bench.faults[1] += 50;
        bench.second();
    }
    assert!(bench.latencies.slowness(1) > 5.0, "{}", bench.latencies.slowness(1));
    assert_eq!(bench.latencies.slowness(0), 1.0);
}

#[test]
fn what_a_call_lost_elsewhere_is_not_this_nodes() {
    let mut bench = bench(2);
    (0..2).for_each(|node| bench.ran(&QUICK, node, 100, 2.0));
    for _ in 0..50 {
        let method = bench.calls.method(&QUICK);
        method.series(1, Lane::Read).record(Outcome::Ok, Duration::from_millis(2002));
        method.series(1, Lane::Read).spent_elsewhere(Duration::from_secs(2));
    }
    assert!(bench.second()[1] < 1.25);
}

#[test]
fn a_slow_one_that_is_hardly_asked_stays_known_and_recovers() {
    let mut bench = bench(3);
    bench.ran(&QUICK, 2, 60, 302.0);
    for _ in 0..60 {
        (0..2).for_each(|node| bench.ran(&QUICK, node, 300, 2.0));
        bench.ran(&QUICK, 2, 1, 302.0);
        bench.second();
    }
    assert!(bench.latencies.slowness(2) > 30.0, "{}", bench.latencies.slowness(2));
    let mut seconds = 0;
    while bench.latencies.slowness(2) > 1.25 {
        (0..3).for_each(|node| bench.ran(&QUICK, node, if node == 2 { 1 } else { 300 }, 2.0));
        bench.second();
        seconds += 1;
    }
    assert!((10..90).contains(&seconds), "{seconds}");
}

#[test]
fn without_any_call_it_is_forgotten_in_minutes() {
    let mut bench = bench(2);
    bench.ran(&QUICK, 0, 100, 2.0);
    bench.ran(&QUICK, 1, 100, 200.0);
    assert!(bench.second()[1] > 50.0);
    for _ in 0..60 {
        bench.second();
    }
    assert!(bench.latencies.slowness(1) > 1.5, "not at once");
    for _ in 0..180 {
        bench.second();
    }
    assert!(bench.latencies.slowness(1) < 1.25);
}

#[test]
fn a_node_that_was_away_starts_anew() {
    let mut bench = bench(2);
    bench.ran(&QUICK, 0, 100, 2.0);
    bench.ran(&QUICK, 1, 100, 200.0);
    assert!(bench.second()[1] > 50.0);
    bench.latencies.learn(&bench.calls.counts(), &[0, 0], &[true, false], 1.0);
    assert_eq!(bench.latencies.slowness(1), 1.0);
    assert_eq!(bench.second()[1], 1.0);
}
