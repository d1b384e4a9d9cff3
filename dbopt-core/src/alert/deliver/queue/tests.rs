use super::*;
use crate::alert::notification::Kind;
use crate::alert::rule::{Rule, Severity};
use proptest::prelude::*;

const LIMITS: Limits = Limits { per_hour: 10, waiting: 50, retry_for: Duration::from_secs(600), joins: false };

fn news(key: &str, kind: Kind) -> Notification {
    Notification {
        key: key.into(),
        rule: Some(Rule::Node),
        subject: None,
        severity: Severity::Error,
        kind,
        summary: key.into(),
        value: None,
        lasted: Duration::ZERO,
        source: "shop".into(),
        instance: "web-1".into(),
        at: Instant::now(),
    }
}

fn keys(message: &Message) -> Vec<(&str, Kind)> {
    message.news.iter().map(|n| (n.key.as_str(), n.kind)).collect()
}

fn next(queue: &mut Queue, now: Instant) -> Next {
    queue.next(now, || "id".into())
}

/// Everything that a receiver who takes all gets until the queue rests, with its time since `start`.
fn drain(queue: &mut Queue, now: &mut Instant) -> Vec<(Instant, Message)> {
    let mut sent = Vec::new();
    loop {
        match next(queue, *now) {
            Next::Send(message) => {
                queue.taken();
                sent.push((*now, message));
            }
            Next::Wait(time) => *now += time,
            Next::Rest => return sent,
        }
    }
}

use Kind::{Firing, Resolved};

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_is_sent_again_and_nothing_overtakes_it() {
    let start = Instant::now();
    let mut queue = Queue::new(LIMITS, start);
    queue.push(news("a", Firing));
    queue.push(news("a", Resolved));
    let Next::Send(first) = next(&mut queue, start) else { panic!() };
    assert_eq!(queue.failed(&Failure::passing("down"), start, 1.0), Some(Duration::from_secs(1)));
    assert!(matches!(next(&mut queue, start), Next::Wait(wait) if wait == Duration::from_secs(1)));
    let Next::Send(again) = next(&mut queue, start + Duration::from_secs(1)) else { panic!() };
    assert_eq!((keys(&first), &first.id), (keys(&again), &again.id));
    queue.taken();
    let Next::Send(second) = next(&mut queue, start + Duration::from_secs(1)) else { panic!() };
    assert_eq!(keys(&second), [("a", Resolved)]);
    queue.taken();
    assert!(queue.is_empty());
    assert_eq!(queue.counts(), Delivered { delivered: 2, retried: 1, ..Delivered::default() });
}

#[tokio::test(start_paused = true)]
async fn a_message_is_given_up_in_the_end_and_a_refused_one_at_once() {
    let mut now = Instant::now();
    let mut queue = Queue::new(LIMITS, now);
    queue.push(news("a", Firing));
    let mut attempts = 0;
    let start = now;
    while let Next::Send(_) = next(&mut queue, now) {
        attempts += 1;
        match queue.failed(&Failure::passing("down"), now, 1.0) {
            Some(wait) => now += wait,
            None => break,
        }
    }
    assert!(attempts > 10 && now - start <= LIMITS.retry_for && queue.is_empty(), "{attempts}");
    queue.push(news("b", Firing));
    assert!(matches!(next(&mut queue, now), Next::Send(_)));
    assert_eq!(queue.failed(&Failure::lasting("no such hook"), now, 1.0), None);
    assert_eq!((queue.counts().dropped, queue.counts().refused, queue.is_empty()), (1, 1, true));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_says_when_to_come_back_is_obeyed() {
    let now = Instant::now();
    let mut queue = Queue::new(LIMITS, now);
    queue.push(news("a", Firing));
    assert!(matches!(next(&mut queue, now), Next::Send(_)));
    let later = Failure { why: "429".into(), again: Again::After(Some(Duration::from_secs(30))) };
    assert_eq!(queue.failed(&later, now, 0.0), Some(Duration::from_secs(30)));
}

#[tokio::test(start_paused = true)]
async fn what_is_over_the_budget_is_summed_up() {
    let mut now = Instant::now();
    let mut queue = Queue::new(LIMITS, now);
    for i in 0..20 {
        queue.push(news(&i.to_string(), Firing));
    }
    let sent = drain(&mut queue, &mut now);
    let sizes: Vec<usize> = sent.iter().map(|(_, message)| message.news.len()).collect();
    assert_eq!(sizes, [1, 1, 1, 1, 1, 15]);
    assert_eq!(sent[5].1.title(), "[shop] 15 alerts began and 0 ended");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_joins_is_spared_what_is_over_and_gets_the_rest_alone() {
    let mut now = Instant::now();
    let mut queue = Queue::new(Limits { joins: true, ..LIMITS }, now);
    for i in 0..5 {
        queue.push(news(&i.to_string(), Firing));
    }
    assert_eq!(drain(&mut queue, &mut now).len(), 5);
    queue.push(news("0", Resolved));
    assert!(matches!(next(&mut queue, now), Next::Wait(_)));
    for (key, kind) in [("5", Firing), ("5", Resolved), ("6", Firing), ("1", Resolved), ("1", Firing)] {
        queue.push(news(key, kind));
    }
    let sent = drain(&mut queue, &mut now);
    let told: Vec<_> = sent.iter().flat_map(|(_, message)| keys(message)).collect();
    assert_eq!(told, [("0", Resolved), ("6", Firing)]);
    assert!(sent.iter().all(|(_, message)| message.news.len() == 1));
}

/// What the receiver thinks is on, after all that it was told.
fn on(told: &[(String, Kind)]) -> Vec<String> {
    let mut on: Vec<String> = Vec::new();
    for (key, kind) in told {
        on.retain(|k| k != key);
        if *kind == Firing {
            on.push(key.clone());
        }
    }
    on.sort();
    on
}

proptest! {
    /// Whatever happens in whatever order, no hour has too many messages, no end comes before its beginning, and in the
    /// end the receiver knows what lasts.
    #[test]
    fn order_budget_and_truth(
        steps in proptest::collection::vec((0u8..6, 0u64..900, any::<bool>()), 1..200),
        joins in any::<bool>(),
        per_hour in 2u32..20,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _guard = runtime.enter();
        let mut now = Instant::now();
        let mut queue = Queue::new(Limits { joins, per_hour, ..LIMITS }, now);
        let (mut truth, mut sent, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
        for (key, wait, fails) in steps {
            let key = key.to_string();
            let kind = if on(&truth).contains(&key) { Resolved } else { Firing };
            truth.push((key.clone(), kind));
            prop_assert_eq!(queue.push(news(&key, kind)), 0);
            now += Duration::from_secs(wait / 10);
            if let Next::Send(message) = next(&mut queue, now) {
                if queue.failures() == 0 {
                    firsts.push(now);
                }
                // A little while, so that none is given up.
                if fails && queue.failures() < 3 {
                    queue.failed(&Failure::passing("down"), now, 0.5);
                } else {
                    queue.taken();
                    sent.push((now, message));
                }
            }
        }
        let rest = drain(&mut queue, &mut now);
        firsts.extend(rest.iter().map(|(at, _)| *at));
        sent.extend(rest);
        let told: Vec<(String, Kind)> =
            sent.iter().flat_map(|(_, m)| m.news.iter().map(|n| (n.key.clone(), n.kind))).collect();
        prop_assert_eq!(on(&told), on(&truth));
        for key in 0..6 {
            let of_key: Vec<Kind> = told.iter().filter(|(k, _)| *k == key.to_string()).map(|(_, kind)| *kind).collect();
            let in_turn = of_key.iter().enumerate().all(|(i, kind)| (*kind == Firing) == (i % 2 == 0));
            prop_assert!(in_turn);
        }
        for (i, at) in firsts.iter().enumerate() {
            let hour = firsts[i..].iter().take_while(|later| **later - *at < Duration::from_secs(3600)).count();
            prop_assert!(hour as u32 <= per_hour.max(2), "{} in an hour", hour);
        }
    }

    /// However much is told to a receiver that is down, no more waits than may.
    #[test]
    fn the_queue_is_bounded(kinds in proptest::collection::vec((0u32..500, any::<bool>()), 0..2000)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _guard = runtime.enter();
        let mut queue = Queue::new(LIMITS, Instant::now());
        for (key, firing) in kinds {
            queue.push(news(&key.to_string(), if firing { Firing } else { Resolved }));
            prop_assert!(queue.waiting.len() <= LIMITS.waiting);
        }
    }
}
