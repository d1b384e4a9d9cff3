//! The circuit under many threads, and its steps in every order.

use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::*;
use crate::backend::FaultKind;
use crate::error::{Reason, SqlState};

fn circuit(config: &Config) -> Arc<Circuit> {
    Circuit::new("a".into(), Lane::Write, config)
}

fn refused() -> ConnectError {
    ConnectError::new(Reason::Refused, "connection refused")
}

fn opened() -> Arc<Circuit> {
    let circuit = circuit(&Config::default());
    (0..5).for_each(|_| circuit.not_connected(&refused()));
    assert!(!circuit.is_closed());
    circuit
}

/// The test that a caller is given.
fn test(circuit: &Arc<Circuit>) -> Option<Probe> {
    match circuit.admit() {
        Ok(Admission::Test(probe)) => Some(probe),
        _ => None,
    }
}

const WHILE_OPEN: Duration = Duration::from_secs(33);

#[tokio::test(start_paused = true)]
async fn it_opens_refuses_at_once_tests_once_and_closes() {
    let circuit = opened();
    let refusal = circuit.admit().expect_err("it is open");
    assert!(refusal.retry_after >= Duration::from_secs(30) && refusal.retry_after <= WHILE_OPEN);
    assert_eq!(refusal.cause.as_deref(), Some("connection refused"));
    tokio::time::advance(WHILE_OPEN).await;
    let probe = test(&circuit).expect("the test is due");
    assert!((0..1000).all(|_| circuit.admit().is_err()));
    probe.succeeded();
    assert!(matches!(circuit.admit(), Ok(Admission::Pass)));
    let ring = [State::Closed, State::Open, State::HalfOpen, State::Closed];
    let once = |pair: &[State]| Changes { from: pair[0], to: pair[1], count: 1 };
    assert_eq!(circuit.status().transitions, ring.windows(2).map(once).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_test_goes_to_the_next_caller() {
    let circuit = opened();
    tokio::time::advance(WHILE_OPEN).await;
    drop(test(&circuit).expect("the test is due"));
    tokio::time::advance(A_MOMENT).await;
    assert!(test(&circuit).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_the_application_does_wrong_keeps_it_closed() {
    let circuit = circuit(&Config::default());
    for code in [b"23505", b"42601", b"57014", b"40001"] {
        let sqlstate = SqlState(*code);
        let fault = Fault { kind: FaultKind::of(sqlstate, false), sqlstate: Some(sqlstate), message: String::new() };
        (0..1000).for_each(|_| circuit.met(&fault, Instant::now()));
    }
    assert!(circuit.is_closed());
    assert_eq!(circuit.successes(), 3000, "a node that answers so works; of a cancelled statement nobody knows");
}

#[tokio::test(start_paused = true)]
async fn slow_calls_count_if_wanted() {
    let slow = Instant::now();
    tokio::time::advance(Duration::from_secs(2)).await;
    let usual = circuit(&Config::default());
    let strict = circuit(&Config { slow_call: Duration::from_secs(1), ..Config::default() });
    for _ in 0..5 {
        usual.answered(slow);
        strict.answered(slow);
    }
    assert!(usual.is_closed() && !strict.is_closed());
}

#[tokio::test(start_paused = true)]
async fn without_circuits_nothing_is_refused() {
    let circuit = circuit(&Config { enabled: false, ..Config::default() });
    (0..100).for_each(|_| circuit.not_connected(&refused()));
    assert!(circuit.is_closed());
}

/// What was counted between two looks is known when it matters.
#[tokio::test(start_paused = true)]
async fn successes_that_no_tick_has_seen_count_when_a_failure_is_judged() {
    let circuit = circuit(&Config::default());
    for _ in 0..10 {
        circuit.succeeded();
        circuit.not_connected(&refused());
    }
    assert!(circuit.is_closed(), "half of all is not more than half");
}

/// Real threads at the moment when the test is due.
#[test]
fn of_a_thousand_callers_one_makes_the_test() {
    let tests = AtomicUsize::new(0);
    for round in 1..=20 {
        let circuit = circuit(&Config { open: Duration::from_nanos(1), ..Config::default() });
        (0..5).for_each(|_| circuit.not_connected(&refused()));
        let probes = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..125 {
                        if let Some(probe) = test(&circuit) {
                            tests.fetch_add(1, Ordering::Relaxed);
                            probes.lock().push(probe);
                        }
                    }
                });
            }
        });
        assert_eq!(tests.load(Ordering::Relaxed), round);
        drop(probes);
    }
}

/// What one of several actors does next; each step is atomic, by the lock or as a single access.
#[derive(Debug, Clone, Copy)]
enum Step {
    Read,
    Succeed,
    Fail,
    Admit,
    TestSucceeds,
    TestFails,
    TestIsDropped,
    Reset,
    Tick,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The flag that calls read never says closed while the machine is not, and permits are never lost.
    #[test]
    fn steps_of_many_actors_in_every_order(steps in proptest::collection::vec((0usize..4, 0u8..12), 1..120)) {
        let circuit = circuit(&Config { open: Duration::from_nanos(1), open_max: Duration::from_nanos(1), ..Config::default() });
        let mut held: [Option<Probe>; 4] = Default::default();
        for (actor, kind) in steps {
            let all = [Step::Read, Step::Succeed, Step::Admit, Step::TestSucceeds, Step::TestFails, Step::TestIsDropped, Step::Reset, Step::Tick];
            let step = all.get(usize::from(kind)).copied().unwrap_or(Step::Fail);
            match (step, held[actor].take()) {
                (Step::TestSucceeds, Some(probe)) => probe.succeeded(),
                (Step::TestFails, Some(probe)) => probe.failed(&refused()),
                (Step::TestIsDropped, Some(probe)) => drop(probe),
                (Step::Admit, None) => held[actor] = test(&circuit),
                (step, probe) => {
                    held[actor] = probe;
                    match step {
                        Step::Read => drop(circuit.is_closed()),
                        Step::Succeed => circuit.succeeded(),
                        Step::Fail => circuit.not_connected(&refused()),
                        Step::Reset => circuit.reset(),
                        Step::Tick => circuit.tick(),
                        _ => {}
                    }
                }
            }
            prop_assert_eq!(circuit.is_closed(), circuit.status().state == State::Closed);
        }
        held = Default::default();
        drop(held);
        match circuit.admit() {
            Ok(Admission::Pass) => {}
            Ok(Admission::Test(probe)) => { probe.succeeded(); prop_assert!(circuit.is_closed()); }
            // The moment may not be over.
            Err(refusal) => prop_assert!(refusal.retry_after <= A_MOMENT),
        }
    }
}
