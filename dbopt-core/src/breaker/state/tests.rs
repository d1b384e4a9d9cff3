//! What a circuit promises, for every order of events.

use proptest::prelude::*;

use super::*;

const POLICY: Policy = Policy {
    window: Duration::from_secs(60),
    minimum: 5,
    failure_rate: 0.5,
    open: Duration::from_secs(30),
    open_max: Duration::from_secs(120),
};

/// A machine with a clock of its own and all successes so far.
struct Bench {
    machine: Machine,
    now: Instant,
    successes: u64,
}

impl Bench {
    fn new() -> Self {
        Bench { machine: Machine::new(POLICY), now: Instant::now(), successes: 0 }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn succeed(&mut self, count: u64) {
        self.successes += count;
        self.machine.sample(self.now, self.successes);
    }

    fn fail(&mut self, failure: Failure, count: usize) -> State {
        for _ in 0..count {
            self.machine.sample(self.now, self.successes);
            self.machine.failed(self.now, failure, "no", 0.0);
        }
        self.machine.state()
    }

    fn admit(&mut self) -> Decision {
        self.machine.admit(self.now).0
    }

    /// Open, by failing connections.
    fn opened() -> Self {
        let mut bench = Bench::new();
        assert_eq!(bench.fail(Failure::Connect, 5), State::Open);
        bench
    }

    /// Fails the test that is due.
    fn fail_test(&mut self) {
        let Decision::Test(test) = self.admit() else { panic!("a test is due") };
        self.machine.test_failed(self.now, test, "still no", 0.0);
    }
}

#[test]
fn more_than_half_in_a_minute_opens_and_half_does_not() {
    let mut bench = Bench::new();
    for _ in 0..50 {
        bench.succeed(1);
        assert_eq!(bench.fail(Failure::Connect, 1), State::Closed);
        bench.pass(1);
    }
    assert_eq!(bench.fail(Failure::Connect, 1), State::Open);
}

#[test]
fn fewer_than_the_minimum_never_open() {
    let mut bench = Bench::new();
    assert_eq!(bench.fail(Failure::Connect, 4), State::Closed);
    bench.pass(61);
    assert_eq!(bench.fail(Failure::Connect, 4), State::Closed, "those before are forgotten");
    assert_eq!(bench.fail(Failure::Connect, 1), State::Open);
}

/// A minute of success must not hide that nothing has worked since.
#[test]
fn as_many_failures_in_a_row_as_the_minimum_open_whatever_was_before() {
    let mut bench = Bench::new();
    bench.succeed(10_000);
    assert_eq!(bench.fail(Failure::Connect, 4), State::Closed);
    bench.succeed(1);
    assert_eq!(bench.fail(Failure::Fault, 4), State::Closed);
    assert_eq!(bench.fail(Failure::Connect, 1), State::Open);
}

#[test]
fn sessions_that_are_ended_together_open_nothing_once_connecting_works() {
    let mut bench = Bench::new();
    assert_eq!(bench.fail(Failure::Loss, 100), State::Closed);
    bench.machine.connected(bench.now);
    bench.succeed(1);
    assert_eq!(bench.fail(Failure::Connect, 1), State::Closed, "they are forgiven");
}

#[test]
fn lost_sessions_count_once_connecting_fails() {
    let mut bench = Bench::new();
    bench.succeed(10_000);
    bench.fail(Failure::Loss, 4);
    assert_eq!(bench.fail(Failure::Connect, 1), State::Open);
}

#[test]
fn a_node_that_takes_connections_only_to_lose_them_is_left_alone() {
    let mut bench = Bench::new();
    bench.fail(Failure::Loss, 1);
    bench.machine.connected(bench.now);
    assert_eq!(bench.fail(Failure::Loss, 4), State::Closed);
    bench.machine.connected(bench.now);
    assert_eq!(bench.fail(Failure::Loss, 1), State::Open);
}

#[test]
fn an_open_circuit_refuses_for_30_seconds_and_then_lets_one_test() {
    let mut bench = Bench::opened();
    bench.pass(29);
    assert_eq!(bench.admit(), Decision::Refuse(Duration::from_secs(1)));
    bench.pass(1);
    assert!(matches!(bench.admit(), Decision::Test(_)));
    for _ in 0..1000 {
        assert_eq!(bench.admit(), Decision::Refuse(A_MOMENT));
    }
}

#[test]
fn a_successful_test_closes_and_forgets() {
    let mut bench = Bench::opened();
    bench.pass(30);
    let Decision::Test(test) = bench.admit() else { panic!("it is due") };
    let changed = bench.machine.test_succeeded(bench.now, test).unwrap();
    assert_eq!((changed.from, changed.to), (State::HalfOpen, State::Closed));
    assert_eq!((bench.admit(), bench.machine.cause()), (Decision::Pass, None));
    assert_eq!(bench.fail(Failure::Connect, 4), State::Closed, "the failures from before are forgotten");
}

#[test]
fn failed_tests_make_the_time_grow_up_to_its_limit() {
    let mut bench = Bench::opened();
    for wait in [30, 60, 120, 120, 120] {
        assert_eq!(bench.machine.test_in(bench.now), Some(Duration::from_secs(wait)));
        bench.pass(wait);
        bench.fail_test();
    }
    let jittered = bench.machine.open(bench.now, 1.0).unwrap().test_in.unwrap();
    assert_eq!(jittered, Duration::from_secs(132), "a tenth more at most");
}

#[test]
fn a_test_that_is_given_up_is_made_by_the_next_caller() {
    let mut bench = Bench::opened();
    bench.pass(30);
    let Decision::Test(first) = bench.admit() else { panic!("it is due") };
    bench.machine.test_returned(bench.now, first);
    assert_eq!(bench.admit(), Decision::Refuse(A_MOMENT));
    bench.pass(1);
    let Decision::Test(second) = bench.admit() else { panic!("it is due again") };
    assert_eq!(bench.machine.test_succeeded(bench.now, first), None, "a result that comes too late says nothing");
    assert!(bench.machine.test_succeeded(bench.now, second).is_some());
}

/// A node that goes down and up: each return is tested at once, however long the circuit would have stayed open.
#[test]
fn flapping_does_not_lock_out() {
    let mut bench = Bench::opened();
    for _ in 0..20 {
        bench.pass(2);
        bench.machine.alive(bench.now, Life::Returned);
        bench.fail_test();
    }
    bench.pass(1);
    bench.machine.alive(bench.now, Life::Returned);
    let Decision::Test(test) = bench.admit() else { panic!("it is due") };
    assert!(bench.machine.test_succeeded(bench.now, test).is_some());
}

#[test]
fn news_that_comes_during_a_test_is_not_lost() {
    let mut bench = Bench::opened();
    bench.pass(30);
    let Decision::Test(test) = bench.admit() else { panic!("it is due") };
    bench.machine.alive(bench.now, Life::Returned);
    bench.machine.test_failed(bench.now, test, "it was too early", 0.0);
    assert!(matches!(bench.admit(), Decision::Test(_)));
}

/// A monitor whose own connection works says little about new ones.
#[test]
fn a_mere_sign_of_life_brings_one_test_forward_and_no_more() {
    let mut bench = Bench::opened();
    bench.machine.alive(bench.now, Life::Answered(bench.now));
    assert_eq!(bench.admit(), Decision::Refuse(Duration::from_secs(30)), "it was seen before the circuit opened");
    bench.pass(1);
    bench.machine.alive(bench.now, Life::Answered(bench.now));
    bench.fail_test();
    bench.machine.alive(bench.now, Life::Answered(bench.now + Duration::from_secs(1)));
    assert_eq!(bench.admit(), Decision::Refuse(Duration::from_secs(60)));
}

#[test]
fn a_promotion_closes_at_once() {
    let mut bench = Bench::opened();
    let changed = bench.machine.reset(bench.now).unwrap();
    assert_eq!((changed.from, changed.to, bench.admit()), (State::Open, State::Closed, Decision::Pass));
}

#[derive(Debug, Clone)]
enum Event {
    Pass(u64),
    Succeed(u64),
    Fail(Failure),
    Connect,
    Admit,
    TestSucceeds(usize),
    TestFails(usize),
    TestReturns(usize),
    Alive(bool),
    Reset,
}

fn event() -> impl Strategy<Value = Event> {
    use Failure::{Connect, Fault, Loss, Slow};
    prop_oneof![
        4 => (0u64..40_000).prop_map(Event::Pass),
        2 => (1u64..5).prop_map(Event::Succeed),
        8 => proptest::sample::select(vec![Connect, Loss, Fault, Slow]).prop_map(Event::Fail),
        1 => Just(Event::Connect),
        6 => Just(Event::Admit),
        2 => (0usize..3).prop_map(Event::TestSucceeds),
        2 => (0usize..3).prop_map(Event::TestFails),
        2 => (0usize..3).prop_map(Event::TestReturns),
        1 => any::<bool>().prop_map(Event::Alive),
        1 => Just(Event::Reset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn in_every_order_of_events(events in proptest::collection::vec(event(), 1..200), random in 0.0f64..1.0) {
        let mut bench = Bench::new();
        let mut running: Option<u64> = None;
        let mut given: Vec<u64> = Vec::new();
        // Every failure and success since it was last closed, with its time.
        let mut since: Vec<(Instant, bool)> = Vec::new();
        let mut earliest_test = None;
        for event in events {
            let before = bench.machine.state();
            let now = bench.now;
            // Which test's result it is: the last ones given out.
            let nth = |n: usize, given: &[u64]| given.iter().rev().nth(n).copied();
            match event {
                Event::Pass(ms) => bench.now += Duration::from_millis(ms),
                Event::Succeed(n) => { bench.succeed(n); since.extend((0..n).map(|_| (now, true))); }
                Event::Fail(failure) => {
                    since.push((now, false));
                    let changed = bench.machine.failed(now, failure, "no", random);
                    if let Some(changed) = changed {
                        // A loss counts from the failed attempt to connect that explains it, which may be a window later.
                        let lately = since.iter().filter(|(at, _)| now - *at <= POLICY.window * 2);
                        let failures = lately.clone().filter(|(_, ok)| !ok).count();
                        prop_assert!(lately.count() >= POLICY.minimum as usize, "opened with fewer than the minimum");
                        prop_assert!(failures * 2 > POLICY.minimum as usize, "opened with few failures");
                        let wait = changed.test_in.unwrap();
                        prop_assert!(wait >= POLICY.open && wait <= POLICY.open_max.mul_f64(1.1));
                        earliest_test = Some(now + wait);
                    }
                }
                Event::Connect => bench.machine.connected(now),
                Event::Admit => match bench.admit() {
                    Decision::Pass => prop_assert_eq!(before, State::Closed),
                    Decision::Test(test) => {
                        prop_assert_eq!(before, State::Open);
                        prop_assert!(running.is_none(), "two tests at once");
                        prop_assert!(earliest_test.is_none_or(|at| at <= now), "a test before its time");
                        running = Some(test);
                        given.push(test);
                    }
                    Decision::Refuse(wait) => {
                        prop_assert_ne!(before, State::Closed);
                        prop_assert!(wait <= POLICY.open_max.mul_f64(1.1));
                    }
                },
                Event::TestSucceeds(n) => if let Some(test) = nth(n, &given) {
                    let changed = bench.machine.test_succeeded(now, test).is_some();
                    prop_assert_eq!(changed, running == Some(test));
                    if changed { running = None; since.clear(); }
                },
                Event::TestFails(n) => if let Some(test) = nth(n, &given) {
                    let changed = bench.machine.test_failed(now, test, "no", random);
                    prop_assert_eq!(changed.is_some(), running == Some(test));
                    if let Some(changed) = changed { running = None; earliest_test = changed.test_in.map(|wait| now + wait); }
                },
                Event::TestReturns(n) => if let Some(test) = nth(n, &given) {
                    let changed = bench.machine.test_returned(now, test).is_some();
                    prop_assert_eq!(changed, running == Some(test));
                    if changed { running = None; earliest_test = None; }
                },
                Event::Alive(came_back) => {
                    bench.machine.alive(now, if came_back { Life::Returned } else { Life::Answered(now) });
                    earliest_test = bench.machine.test_in(now).map(|wait| now + wait);
                }
                Event::Reset => { bench.machine.reset(now); running = None; since.clear(); }
            }
            prop_assert_eq!(bench.machine.state() == State::HalfOpen, running.is_some());
        }
        // Never stuck: when nobody tests, somebody can after the longest time, and a success closes.
        if let Some(test) = running {
            bench.machine.test_returned(bench.now, test);
        }
        bench.pass(133);
        match bench.admit() {
            Decision::Pass => {}
            Decision::Test(test) => {
                prop_assert!(bench.machine.test_succeeded(bench.now, test).is_some());
                prop_assert_eq!(bench.admit(), Decision::Pass);
            }
            Decision::Refuse(wait) => prop_assert!(false, "stuck for {wait:?}"),
        }
    }

    #[test]
    fn successes_and_losses_alone_never_open(steps in proptest::collection::vec((0u64..5, 0usize..20), 1..50)) {
        let mut bench = Bench::new();
        for (wait, losses) in steps {
            bench.pass(wait);
            bench.succeed(1 + losses as u64);
            prop_assert_eq!(bench.fail(Failure::Loss, losses), State::Closed);
        }
    }
}
