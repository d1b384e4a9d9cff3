//! A refusal comes at once and names the true cause.

use super::*;

/// The cause of a failed attempt, and what follows while no further one is made.
#[tokio::test(start_paused = true)]
async fn the_cause_of_a_failed_attempt_is_told_at_once() {
    let causes = [
        (Reason::Refused, "nothing listens"),
        (Reason::Authentication, "password authentication failed"),
        (Reason::UnknownDatabase, "database does not exist"),
        (Reason::ServerFull, "too many clients"),
    ];
    for (reason, message) in causes {
        let bench = bench(0, 5);
        bench.refuse(reason, message);
        let began = Instant::now();
        let first = refused(acquire(&bench.pool).await);
        assert_eq!((first.reason, first.detail.as_str()), (reason, message));
        assert!(first.retry_after.is_some());
        let second = refused(acquire(&bench.pool).await);
        assert_eq!(second.reason, Reason::BackingOff);
        assert!(second.detail.contains(message) && second.retry_after <= first.retry_after, "{second}");
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(bench.attempts().len(), 1, "the second caller made no attempt");
    }
}

#[tokio::test(start_paused = true)]
async fn everybody_in_the_queue_is_told_why_no_connection_comes() {
    let bench = bench(0, 2);
    *bench.node.connect_delay.lock() = Duration::from_millis(100);
    bench.node.kill();
    let callers = [caller(&bench.pool).await, caller(&bench.pool).await, caller(&bench.pool).await];
    let began = Instant::now();
    for caller in callers {
        assert_eq!(refused(caller.await.unwrap()).reason, Reason::Refused);
    }
    assert_eq!(began.elapsed(), Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_after_the_connect_timeout() {
    let bench = bench(0, 2);
    *bench.node.connect_delay.lock() = Duration::from_secs(60);
    let began = Instant::now();
    let refusal = refused(acquire(&bench.pool).await);
    assert_eq!(refusal.reason, Reason::ConnectTimeout);
    assert!(refusal.detail.contains("pool.connect_timeout"), "{refusal}");
    assert_eq!(began.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_the_next_caller_at_once() {
    let bench = bench_with(Config { max_waiting: 2, ..Config::default() }, 0, 1);
    let _held = bench.all_in_use(1).await;
    let waiting = [caller(&bench.pool).await, caller(&bench.pool).await];
    let began = Instant::now();
    let refusal = refused(acquire(&bench.pool).await);
    assert_eq!(refusal.reason, Reason::QueueFull);
    assert!(refusal.detail.contains("2 callers are waiting already (pool.max_waiting)"), "{refusal}");
    assert_eq!(began.elapsed(), Duration::ZERO);
    // Whoever gives up makes room.
    waiting[0].abort();
    settle().await;
    assert!(!caller(&bench.pool).await.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_closed_pool_refuses_new_callers_and_those_who_wait() {
    let bench = bench(0, 1);
    let held = bench.all_in_use(1).await;
    let waiting = caller(&bench.pool).await;
    let began = Instant::now();
    bench.pool.close();
    assert_eq!(refused(waiting.await.unwrap()).reason, Reason::Closed);
    assert_eq!(refused(acquire(&bench.pool).await).reason, Reason::Closed);
    assert_eq!(began.elapsed(), Duration::ZERO);
    drop(held);
    assert_eq!((bench.open(), bench.pool.in_use()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_names_the_last_cause_and_the_numbers() {
    let bench = bench(0, 2);
    let _held = bench.all_in_use(1).await;
    bench.refuse(Reason::ServerFull, "too many clients");
    let began = Instant::now();
    let refusal = refused(acquire(&bench.pool).await);
    assert_eq!((refusal.reason, began.elapsed()), (Reason::AcquireTimeout, Duration::from_secs(5)));
    for part in ["1 of 2 are in use", "0 other callers wait", "too many clients"] {
        assert!(refusal.detail.contains(part), "{part} in {refusal}");
    }
}

/// A server that still answers leaves what is open: whoever waits for that is not turned away.
#[tokio::test(start_paused = true)]
async fn a_full_server_does_not_disturb_callers_who_can_be_served() {
    let bench = bench(0, 2);
    let mut held = bench.all_in_use(1).await;
    bench.refuse(Reason::ServerFull, "too many clients");
    let waiting = caller(&bench.pool).await;
    assert!(!waiting.is_finished());
    held.clear();
    assert!(waiting.await.unwrap().is_ok());
}

/// The one connection that would have come back dies while no new one may be tried.
#[tokio::test(start_paused = true)]
async fn callers_whom_nobody_will_serve_are_told_at_once() {
    let bench = bench(0, 2);
    let held = bench.all_in_use(1).await;
    bench.refuse(Reason::ServerFull, "too many clients");
    let waiting = caller(&bench.pool).await;
    let began = Instant::now();
    bench.node.kill();
    drop(held);
    let refusal = refused(waiting.await.unwrap());
    assert_eq!((refusal.reason, began.elapsed()), (Reason::BackingOff, Duration::ZERO));
    assert!(refusal.detail.contains("too many clients"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn a_lane_without_a_share_refuses_at_once() {
    let bench = bench(0, 1);
    let held = bench.all_in_use(1).await;
    let waiting = caller(&bench.pool).await;
    let began = Instant::now();
    bench.pool.set_share(share(0, 0));
    assert_eq!(refused(waiting.await.unwrap()).reason, Reason::NotReady);
    assert_eq!(refused(acquire(&bench.pool).await).reason, Reason::NotReady);
    assert_eq!(refused(acquire_at_once(&bench.pool).await).reason, Reason::NotReady);
    assert_eq!(began.elapsed(), Duration::ZERO);
    drop(held);
    assert_eq!(bench.open(), 0, "what was in use is closed as it comes back");
    bench.pool.set_share(share(0, 1));
    assert!(acquire(&bench.pool).await.is_ok());
}

/// Whoever holds a connection already must never wait for another caller.
#[tokio::test(start_paused = true)]
async fn callers_who_must_not_wait_are_answered_at_once() {
    let began = Instant::now();
    let full = bench(0, 1);
    let first = acquire_at_once(&full.pool).await.unwrap();
    assert_eq!(refused(acquire_at_once(&full.pool).await).reason, Reason::Busy);
    drop(first);
    assert!(acquire_at_once(&full.pool).await.is_ok());

    let failing = bench(0, 3);
    let _held = failing.all_in_use(1).await;
    failing.refuse(Reason::ServerFull, "too many clients");
    assert_eq!(refused(acquire_at_once(&failing.pool).await).reason, Reason::ServerFull);
    assert_eq!(refused(acquire_at_once(&failing.pool).await).reason, Reason::BackingOff);

    let (cluster, budget) = (FakeCluster::default(), Budget::new(1));
    let (_, greedy) = pool_on(&cluster, "a", &budget, Config::default());
    let (_, poor) = pool_on(&cluster, "b", &budget, Config::default());
    greedy.set_share(share(0, 1));
    poor.set_share(share(0, 1));
    let _all = acquire(&greedy).await.unwrap();
    assert_eq!(refused(acquire_at_once(&poor).await).reason, Reason::Busy);
    let patient = caller(&poor).await;
    assert_eq!(refused(acquire_at_once(&poor).await).reason, Reason::Busy);
    // Nobody is before them any more, and still nothing can be opened.
    patient.abort();
    settle().await;
    poor.lobby.lock().next_waiting();
    assert_eq!(refused(acquire_at_once(&poor).await).reason, Reason::Busy);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

/// Their room is taken away while their connection is on its way.
#[tokio::test(start_paused = true)]
async fn a_shrinking_share_answers_those_who_must_not_wait() {
    let bench = bench(0, 2);
    let _held = bench.all_in_use(1).await;
    *bench.node.connect_delay.lock() = Duration::from_millis(100);
    let pool = bench.pool.clone();
    let nested = tokio::spawn(async move { acquire_at_once(&pool).await });
    settle().await;
    let began = Instant::now();
    bench.pool.set_share(share(0, 1));
    assert_eq!(refused(nested.await.unwrap()).reason, Reason::Busy);
    assert_eq!(began.elapsed(), Duration::ZERO);
}
