use super::*;
use proptest::prelude::*;

const TIMING: Timing = Timing { lasting: Duration::from_secs(10), hold: Duration::from_secs(20), gap: Duration::ZERO };

fn condition(verdict: Verdict) -> Condition {
    Condition { key: (Rule::Node, Some("db1".into())), verdict, value: None, summary: format!("{verdict:?}") }
}

/// What is told when the verdicts come one a second: (second, began).
fn told(verdicts: &[Verdict], timing: Timing) -> Vec<(usize, bool)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _guard = runtime.enter();
    let (start, mut alerts) = (Instant::now(), Alerts::default());
    let mut told = Vec::new();
    for (second, verdict) in verdicts.iter().enumerate() {
        let now = start + Duration::from_secs(second as u64);
        let changes = alerts.step(&[condition(*verdict)], |_| timing, now);
        told.extend(changes.iter().map(|change| (second, change.began)));
    }
    told
}

fn spells(spells: &[(Verdict, usize)]) -> Vec<Verdict> {
    spells.iter().flat_map(|(verdict, seconds)| vec![*verdict; *seconds]).collect()
}

use Verdict::{Bad, Between, Good};

#[test]
fn a_moment_is_no_alert_and_a_lasting_state_is_one() {
    assert_eq!(told(&spells(&[(Bad, 10), (Good, 100)]), TIMING), []);
    assert_eq!(told(&spells(&[(Bad, 100), (Good, 100)]), TIMING), [(10, true), (120, false)]);
}

#[test]
fn between_the_thresholds_an_alert_neither_begins_nor_ends() {
    assert_eq!(told(&spells(&[(Between, 100)]), TIMING), []);
    assert_eq!(
        told(&spells(&[(Bad, 11), (Between, 100), (Good, 15), (Between, 5), (Good, 30)]), TIMING),
        [(10, true), (151, false)]
    );
}

#[test]
fn what_comes_and_goes_is_one_alert() {
    let flapping: Vec<_> = (0..50).flat_map(|_| [(Bad, 5), (Good, 10)]).collect();
    let state = Timing { gap: TIMING.lasting, ..TIMING };
    let mut verdicts = spells(&flapping);
    verdicts.extend(spells(&[(Good, 100)]));
    assert_eq!(told(&verdicts, state).len(), 2, "{:?}", told(&verdicts, state));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_named_any_more_is_over() {
    let (start, mut alerts) = (Instant::now(), Alerts::default());
    for second in 0..=10 {
        alerts.step(&[condition(Bad)], |_| TIMING, start + Duration::from_secs(second));
    }
    assert_eq!(alerts.active().count(), 1);
    assert!(alerts.step(&[], |_| TIMING, start + Duration::from_secs(11)).is_empty());
    let ended = alerts.step(&[], |_| TIMING, start + Duration::from_secs(31));
    assert!(ended.len() == 1 && !ended[0].began && ended[0].lasted == Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn ending_ends_what_is_picked_and_nothing_else() {
    let (now, mut alerts) = (Instant::now(), Alerts::default());
    let at_once = Timing { lasting: Duration::ZERO, ..TIMING };
    let pool = Condition { key: (Rule::Pool, None), ..condition(Bad) };
    assert_eq!(alerts.step(&[condition(Bad), pool], |_| at_once, now).len(), 2);
    let ended = alerts.end(Rule::is_of_instance, "stopped", now);
    assert_eq!(ended.iter().map(|c| (c.key.0, c.began)).collect::<Vec<_>>(), [(Rule::Pool, false)]);
    assert_eq!(alerts.active().count(), 1);
}

fn verdicts() -> impl Strategy<Value = Vec<Verdict>> {
    let spell = (prop_oneof![Just(Bad), Just(Between), Just(Good)], 1usize..40);
    proptest::collection::vec(spell, 1..60).prop_map(|list| spells(&list))
}

proptest! {
    /// It begins and ends in turn, and each only after the time that it must last.
    #[test]
    fn each_begins_once_and_ends_once(verdicts in verdicts()) {
        let told = told(&verdicts, TIMING);
        for (i, (second, began)) in told.iter().enumerate() {
            prop_assert_eq!(*began, i % 2 == 0);
            let (needed, verdict) = if *began { (10, Bad) } else { (20, Good) };
            prop_assert!(*second >= needed);
            prop_assert!(verdicts[second - needed..=*second].iter().all(|v| *v == verdict), "at {}", second);
        }
    }

    /// None is missed: after a bad spell that is long enough it is on, after a good one it is off.
    #[test]
    fn none_is_missed(mut verdicts in verdicts(), ends_bad in any::<bool>()) {
        verdicts.extend(vec![if ends_bad { Bad } else { Good }; 21]);
        let on = told(&verdicts, TIMING).last().is_some_and(|(_, began)| *began);
        prop_assert_eq!(on, ends_bad);
    }

    /// While it is bad all the time but for gaps shorter than `for`, it is told once.
    #[test]
    fn flapping_is_told_once(spells_of in proptest::collection::vec((1usize..5, 1usize..10), 10..60)) {
        let list: Vec<_> = spells_of.into_iter().flat_map(|(bad, good)| [(Bad, bad), (Good, good)]).collect();
        let told = told(&spells(&list), Timing { gap: TIMING.lasting, ..TIMING });
        prop_assert_eq!(told.iter().map(|(_, began)| *began).collect::<Vec<_>>(), vec![true]);
    }
}
