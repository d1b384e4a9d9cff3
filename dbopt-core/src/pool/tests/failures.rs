//! Attempts to connect that fail: how often they are repeated, and what they must not break (4.4).

use super::log::Log;
use super::*;

fn gaps(attempts: &[Instant]) -> Vec<f64> {
    attempts.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
}

/// Seconds by which the timer may be late.
const LATE: f64 = 0.01;

#[tokio::test(start_paused = true)]
async fn attempts_back_off_exponentially_and_one_at_a_time() {
    let bench = bench(4, 10);
    bench.node.kill();
    pass(&bench.pool, Duration::from_secs(200)).await;
    let attempts = bench.attempts();
    let began_together = attempts.iter().take_while(|at| **at == attempts[0]).count();
    let gaps = gaps(&attempts[began_together - 1..]);
    assert!(gaps.len() >= 8, "{gaps:?}");
    for (gap, full) in gaps.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]) {
        assert!(*gap >= full / 2.0 && *gap <= full + LATE, "half to all of {full} s: {gaps:?}");
    }
    assert_eq!(bench.node.connecting.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn attempts_that_were_under_way_together_fail_as_one() {
    let (log, _guard) = Log::keep();
    let bench = bench(10, 10);
    *bench.node.connect_delay.lock() = Duration::from_millis(100);
    bench.node.kill();
    let refusal = bench.pool.warm().await.unwrap_err();
    settle().await;
    assert_eq!((refusal.reason, bench.attempts().len()), (Reason::Refused, 10));
    let warnings = log.with("cannot connect");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("failures=1") && warnings[0].contains("connection refused"), "{warnings:?}");
    assert!(bench.pool.attempts.lock().wait(Instant::now()) <= Some(Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_success_ends_the_backoff_and_opens_what_was_held_back() {
    let (log, _guard) = Log::keep();
    let bench = bench(4, 10);
    bench.node.kill();
    pass(&bench.pool, Duration::from_secs(20)).await;
    bench.node.revive();
    bench.node.most_connecting.store(0, Ordering::SeqCst);
    *bench.node.connect_delay.lock() = Duration::from_millis(10);
    let before = bench.attempts().len();
    pass(&bench.pool, Duration::from_secs(31)).await;
    assert_eq!(bench.open(), 4);
    let attempts = bench.attempts()[before..].to_vec();
    assert!(attempts[1] - attempts[0] >= Duration::from_millis(10), "one alone tries it first: {attempts:?}");
    assert_eq!(bench.node.most_connecting.load(Ordering::SeqCst), 3, "the others follow together");
    assert_eq!(log.with("connected again").len(), 1);
    assert_eq!(bench.pool.status().last_error, None);

    // The next trouble begins with short waits again.
    bench.node.kill();
    let before = bench.attempts().len();
    pass(&bench.pool, Duration::from_secs(5)).await;
    let attempts = bench.attempts()[before..].to_vec();
    let together = attempts.iter().take_while(|at| **at == attempts[0]).count();
    assert!(gaps(&attempts[together - 1..])[0] <= 1.0 + 0.01 + LATE, "{attempts:?}");
}

/// Nothing but the queue asks for a connection, and no maintenance happens.
#[tokio::test(start_paused = true)]
async fn the_next_attempt_is_made_when_its_time_has_come() {
    let bench = bench(1, 1);
    bench.node.kill();
    let wait = refused(acquire(&bench.pool).await).retry_after.unwrap();
    bench.node.revive();
    sleep(wait + Duration::from_millis(2)).await;
    assert_eq!(bench.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sign_of_life_makes_the_next_attempt_at_once() {
    let bench = bench(1, 2);
    bench.node.kill();
    pass(&bench.pool, Duration::from_secs(60)).await;
    let before = bench.attempts().len();
    bench.pool.retry_now();
    settle().await;
    assert_eq!(bench.attempts().len(), before + 1);
    bench.node.revive();
    let began = Instant::now();
    assert_eq!(refused(acquire(&bench.pool).await).reason, Reason::BackingOff);
    bench.pool.retry_now();
    assert!(acquire(&bench.pool).await.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

/// A driver's bug costs the attempt, not the place.
#[tokio::test(start_paused = true)]
async fn a_driver_that_panics_leaves_no_trace_in_the_counts() {
    let bench = bench(0, 3);
    bench.node.panics.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let refusal = refused(acquire(&bench.pool).await);
    assert_eq!((refusal.reason, began.elapsed()), (Reason::Other, Duration::ZERO));
    assert!(refusal.detail.contains("panicked"), "{refusal}");
    bench.node.panics.store(false, Ordering::SeqCst);
    bench.pool.retry_now();
    let mut held = bench.all_in_use(3).await;
    for lease in &mut held {
        lease.health = crate::backend::Health::Busy;
    }
    bench.node.panics.store(true, Ordering::SeqCst);
    held.clear();
    settle().await;
    assert_eq!((bench.open(), bench.pool.in_use(), bench.pool.store.open()), (0, 0, 0));
    bench.node.panics.store(false, Ordering::SeqCst);
    assert_eq!(bench.all_in_use(3).await.len(), 3);
}

/// No maintenance is needed: whoever lacks room is woken by whoever gives some back.
#[tokio::test(start_paused = true)]
async fn room_in_the_budget_goes_at_once_to_a_pool_that_lacks_it() {
    let (cluster, budget) = (FakeCluster::default(), Budget::new(2));
    let (_, greedy) = pool_on(&cluster, "a", &budget, Config::default());
    let (node, poor) = pool_on(&cluster, "b", &budget, Config::default());
    greedy.set_share(share(0, 2));
    poor.set_share(share(0, 2));
    let (first, second) = (acquire(&greedy).await.unwrap(), acquire(&greedy).await.unwrap());
    let waiting = [caller(&poor).await, caller(&poor).await];
    assert_eq!(node.attempts.lock().len(), 0, "attempts without room reach no server");
    let began = Instant::now();
    first.close();
    settle().await;
    assert_eq!(poor.status().in_use, 1);
    greedy.set_share(share(0, 0));
    drop(second);
    for task in waiting {
        assert!(task.await.unwrap().is_ok());
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(poor.status().last_error, None, "lack of room is no failure of the node");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_says_that_the_budget_is_open_elsewhere() {
    let (cluster, budget) = (FakeCluster::default(), Budget::new(1));
    let (_, greedy) = pool_on(&cluster, "a", &budget, Config::default());
    let (_, poor) = pool_on(&cluster, "b", &budget, Config::default());
    greedy.set_share(share(0, 1));
    poor.set_share(share(0, 1));
    let _all = acquire(&greedy).await.unwrap();
    let refusal = refused(acquire(&poor).await);
    assert_eq!(refusal.reason, Reason::AcquireTimeout);
    assert!(refusal.detail.contains("all 1 of the budget (pool.max) are open elsewhere"), "{refusal}");
}

/// 4.5: the minimum is there before the first caller is.
#[tokio::test(start_paused = true)]
async fn warming_opens_the_minimum_and_no_more() {
    let bench = bench(10, 20);
    *bench.node.connect_delay.lock() = Duration::from_millis(100);
    let began = Instant::now();
    bench.pool.warm().await.unwrap();
    assert_eq!((bench.open(), began.elapsed()), (10, Duration::from_millis(100)));
}
