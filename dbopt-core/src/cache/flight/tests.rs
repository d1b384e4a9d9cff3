use std::time::Duration;

use super::*;
use crate::key::with_key;

fn key(of: u64) -> Key {
    with_key(1, &of, |key| key.to_key()).unwrap()
}

fn lead(flights: &Arc<Flights>, of: u64) -> Ticket {
    match flights.join(key(of).as_ref()) {
        Role::Leader(ticket) => ticket,
        other => panic!("{other:?} instead of the lead"),
    }
}

fn follow(flights: &Arc<Flights>, of: u64) -> Follower {
    match flights.join(key(of).as_ref()) {
        Role::Follower(follower) => follower,
        other => panic!("{other:?} instead of a place to wait"),
    }
}

/// Loads after some time, and counts.
async fn slow(loads: &AtomicU64, result: Result<u64, String>) -> Result<u64, String> {
    loads.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(10)).await;
    result
}

#[tokio::test(start_paused = true)]
async fn a_thousand_misses_of_a_key_are_one_load() {
    let flights = Arc::new(Flights::new());
    let loads = AtomicU64::new(0);
    let calls = (0..1000).map(|_| async {
        flights.load(key(1).as_ref(), async || slow(&loads, Ok(7)).await, String::clone).await.unwrap()
    });
    let found = futures_util::future::join_all(calls).await;
    assert_eq!(found, vec![7; 1000]);
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert_eq!(flights.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failing_load_is_made_once_and_its_failure_shared() {
    let flights = Arc::new(Flights::new());
    let loads = AtomicU64::new(0);
    let of = key(1);
    let calls = (0..50).map(|_| {
        flights.load(of.as_ref(), async || slow(&loads, Err("no such table".into())).await, |error| error.len())
    });
    let found = futures_util::future::join_all(calls).await;
    let own = found.iter().filter(|one| matches!(one, Err(LoadError::Own(text)) if text == "no such table")).count();
    let others = found.iter().filter(|one| matches!(one, Err(LoadError::Others(length)) if **length == 13)).count();
    assert_eq!((own, others, loads.load(Ordering::SeqCst)), (1, 49, 1));
    assert_eq!(flights.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn when_the_leader_goes_away_exactly_one_takes_over() {
    let flights = Arc::new(Flights::new());
    let ticket = lead(&flights, 1);
    let mut waiting: Vec<_> = (0..20).map(|_| tokio::spawn(follow(&flights, 1).wait())).collect();
    tokio::task::yield_now().await;
    drop(ticket);
    let first = tokio::time::timeout(Duration::from_secs(1), waiting.remove(0)).await.unwrap().unwrap();
    let Landing::Lead(next) = first else { panic!("nobody took over: {first:?}") };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(waiting.iter().all(|one| !one.is_finished()), "only one leads");
    next.succeed(Arc::new(5u64));
    for one in waiting {
        let Landing::Shared(Outcome::Value(value)) = one.await.unwrap() else { panic!("a value") };
        assert_eq!(value.downcast_ref(), Some(&5u64));
    }
    assert_eq!(flights.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_leader_hands_over() {
    let flights = Arc::new(Flights::new());
    let panicking = tokio::spawn({
        let flights = flights.clone();
        async move {
            let load = async || -> Result<u64, ()> {
                tokio::task::yield_now().await;
                panic!("on purpose")
            };
            flights.load(key(1).as_ref(), load, |_| ()).await.ok()
        }
    });
    tokio::task::yield_now().await;
    let loads = AtomicU64::new(0);
    let found = flights.load(key(1).as_ref(), async || slow(&loads, Ok(3)).await, String::clone).await;
    assert!(panicking.await.is_err());
    assert_eq!(found.unwrap(), 3);
    assert_eq!(flights.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_one_who_was_to_take_over_may_go_away_too() {
    let flights = Arc::new(Flights::new());
    let ticket = lead(&flights, 1);
    let gone = tokio::spawn(follow(&flights, 1).wait());
    let stays = tokio::spawn(follow(&flights, 1).wait());
    tokio::task::yield_now().await;
    gone.abort();
    drop(ticket);
    let landing = tokio::time::timeout(Duration::from_secs(1), stays).await.unwrap().unwrap();
    assert!(matches!(landing, Landing::Lead(_)), "{landing:?}");
}

#[tokio::test]
async fn nothing_is_left_when_all_go_away() {
    let flights = Arc::new(Flights::new());
    for leader_first in [true, false] {
        let (ticket, follower) = (lead(&flights, 1), follow(&flights, 1));
        if leader_first {
            drop(ticket);
            drop(follower);
        } else {
            drop(follower);
            drop(ticket);
        }
        assert_eq!(flights.under_way(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_asks_for_itself_is_told_so() {
    let flights = Arc::new(Flights::new());
    let inner = || async {
        // Through a load of another key, too.
        let direct = matches!(flights.join(key(1).as_ref()), Role::Recursive);
        let other = lead(&flights, 2);
        let indirect = other.scope(async { matches!(flights.join(key(1).as_ref()), Role::Recursive) }).await;
        Ok::<_, ()>((direct, indirect))
    };
    let found = flights.load(key(1).as_ref(), async || inner().await, |_| ()).await.unwrap();
    assert_eq!(found, (true, true));
    let ticket = lead(&flights, 1);
    let another = tokio::spawn(follow(&flights, 1).wait());
    ticket.succeed(Arc::new(1u8));
    assert!(matches!(another.await.unwrap(), Landing::Shared(_)), "another task just waits");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_waiter_disturbs_nobody() {
    let flights = Arc::new(Flights::new());
    let ticket = lead(&flights, 1);
    let mut abandoned = Box::pin(follow(&flights, 1).wait());
    assert!(futures_util::poll!(abandoned.as_mut()).is_pending());
    drop(abandoned);
    let stays = tokio::spawn(follow(&flights, 1).wait());
    ticket.succeed(Arc::new(1u8));
    assert!(matches!(stays.await.unwrap(), Landing::Shared(Outcome::Value(_))));
}

#[test]
fn threads_that_come_and_go_always_get_a_value_and_leave_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let flights = Arc::new(Flights::new());
    runtime.block_on(async {
        let tasks: Vec<_> = (0..64u64)
            .map(|task| {
                let flights = flights.clone();
                tokio::spawn(async move {
                    for turn in 0..500u64 {
                        let of = key(turn % 3);
                        let load = async || {
                            tokio::task::yield_now().await;
                            Ok::<_, ()>(turn % 3)
                        };
                        let call = flights.load(of.as_ref(), load, |_| ());
                        if (task + turn) % 5 == 0 {
                            let mut call = Box::pin(call);
                            let _ = futures_util::poll!(call.as_mut());
                        } else {
                            assert_eq!(call.await.ok(), Some(turn % 3));
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
        }
    });
    assert_eq!(flights.under_way(), 0);
}
