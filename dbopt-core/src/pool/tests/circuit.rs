//! What a pool does while its circuit is open, and when it is tested.

use super::*;
use crate::backend::{Fault, Health};
use crate::breaker::{Failure, Life, State};

/// The longest that a circuit is open before its first test.
const OPEN: Duration = Duration::from_secs(33);

impl Bench {
    fn open_circuit(&self) {
        (0..5).for_each(|_| self.pool.circuit().failed(Failure::Connect, "it was told to"));
        assert_eq!(self.circuit(), State::Open);
    }

    fn circuit(&self) -> State {
        self.pool.circuit().status().state
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_opens_it_and_is_left_alone() {
    let bench = guarded(Lane::Read, 2, 10);
    bench.node.kill();
    pass(&bench.pool, Duration::from_secs(20)).await;
    assert_eq!(bench.circuit(), State::Open);
    let attempts = bench.attempts().len();
    assert!(attempts <= 6, "five failures and one more that was under way: {attempts}");
    let began = Instant::now();
    let refusal = refused(acquire(&bench.pool).await);
    assert_eq!((refusal.reason, began.elapsed()), (Reason::CircuitOpen, Duration::ZERO));
    assert!(refusal.detail.contains("connection refused"), "{refusal}");
    let wait = refusal.retry_after.unwrap();
    assert!(wait > Duration::from_secs(10) && wait <= OPEN, "{refusal}");
    pass(&bench.pool, wait - Duration::from_secs(1)).await;
    assert_eq!(bench.attempts().len(), attempts, "nobody asks it, not even for the minimum");
}

/// Connections that are there are not lent either: their node is being left alone.
#[tokio::test(start_paused = true)]
async fn an_open_circuit_lends_nothing() {
    let bench = guarded(Lane::Read, 2, 10);
    settle().await;
    bench.open_circuit();
    assert_eq!(refused(acquire(&bench.pool).await).reason, Reason::CircuitOpen);
    assert_eq!(bench.pool.circuit().status().refused, 1);
}

#[tokio::test(start_paused = true)]
async fn of_a_thousand_callers_one_makes_the_test_connection() {
    for lane in [Lane::Read, Lane::Write] {
        let bench = guarded(lane, 0, 10);
        bench.open_circuit();
        sleep(OPEN).await;
        *bench.node.connect_delay.lock() = Duration::from_millis(100);
        let began = Instant::now();
        let mut callers = Vec::new();
        for _ in 0..1000 {
            let pool = bench.pool.clone();
            callers.push(tokio::spawn(async move { (acquire(&pool).await, Instant::now()) }));
        }
        let mut served = 0;
        for caller in callers {
            match caller.await.unwrap() {
                (Ok(_), _) => served += 1,
                (Err(refusal), at) => {
                    assert_eq!((refusal.reason, at), (Reason::CircuitOpen, began), "the others are refused at once");
                }
            }
        }
        // A read has other nodes to go to; whoever writes waits for the result.
        assert_eq!(served, usize::from(lane == Lane::Write));
        sleep(Duration::from_millis(100)).await;
        settle().await;
        assert_eq!((bench.attempts().len(), bench.circuit()), (1, State::Closed));
        assert!(acquire(&bench.pool).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_test_opens_it_for_longer() {
    let bench = guarded(Lane::Write, 0, 10);
    bench.open_circuit();
    bench.node.kill();
    sleep(OPEN).await;
    let refusal = refused(acquire(&bench.pool).await);
    assert_eq!((refusal.reason, bench.attempts().len()), (Reason::Refused, 1));
    assert!(refused(acquire(&bench.pool).await).retry_after >= Some(Duration::from_secs(60)));
    bench.node.revive();
    sleep(Duration::from_secs(66)).await;
    assert!(acquire(&bench.pool).await.is_ok());
}

/// The test is made on nobody's time.
#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_takes_no_test_with_him() {
    let bench = guarded(Lane::Write, 0, 10);
    bench.open_circuit();
    sleep(OPEN).await;
    *bench.node.connect_delay.lock() = Duration::from_millis(100);
    caller(&bench.pool).await.abort();
    sleep(Duration::from_millis(101)).await;
    settle().await;
    assert_eq!((bench.attempts().len(), bench.circuit()), (1, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_panics_does_not_keep_the_permit() {
    let bench = guarded(Lane::Write, 0, 10);
    bench.open_circuit();
    sleep(OPEN).await;
    bench.node.panics.store(true, Ordering::SeqCst);
    refused(acquire(&bench.pool).await);
    bench.node.panics.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(66)).await;
    assert!(acquire(&bench.pool).await.is_ok());
}

/// Its callers have long gone elsewhere.
#[tokio::test(start_paused = true)]
async fn a_pool_that_nobody_asks_comes_back_by_itself() {
    let bench = guarded(Lane::Read, 2, 10);
    bench.node.kill();
    pass(&bench.pool, Duration::from_secs(20)).await;
    assert_eq!(bench.circuit(), State::Open);
    bench.node.revive();
    pass(&bench.pool, OPEN).await;
    assert_eq!((bench.circuit(), bench.open()), (State::Closed, 2));
}

#[tokio::test(start_paused = true)]
async fn news_of_the_node_makes_the_test_due() {
    let bench = guarded(Lane::Write, 0, 10);
    bench.open_circuit();
    bench.pool.circuit().alive(Life::Returned);
    assert!(acquire(&bench.pool).await.is_ok());
}

/// Every connection that the share allows is there already; a test needs a new one all the same.
#[tokio::test(start_paused = true)]
async fn what_idles_makes_room_for_the_test() {
    let bench = guarded(Lane::Read, 2, 2);
    settle().await;
    assert_eq!(bench.open(), 2);
    bench.open_circuit();
    sleep(OPEN).await;
    refused(acquire(&bench.pool).await);
    settle().await;
    assert_eq!((bench.circuit(), bench.opened(), bench.open()), (State::Closed, 3, 2));
}

/// All of them are in use: the test is made when one comes back, and the permit is not lost meanwhile.
#[tokio::test(start_paused = true)]
async fn without_room_the_test_waits_for_some() {
    let bench = guarded(Lane::Read, 0, 1);
    let held = bench.all_in_use(1).await;
    bench.open_circuit();
    sleep(OPEN).await;
    refused(acquire(&bench.pool).await);
    settle().await;
    assert_eq!((bench.circuit(), bench.opened()), (State::Open, 1));
    drop(held);
    sleep(Duration::from_millis(100)).await;
    refused(acquire(&bench.pool).await);
    settle().await;
    assert_eq!((bench.circuit(), bench.opened()), (State::Closed, 2));
}

/// Nothing is sent there: that is said rather than that it failed once.
#[tokio::test(start_paused = true)]
async fn a_lane_without_a_share_is_not_tested() {
    let bench = guarded(Lane::Write, 0, 10);
    bench.open_circuit();
    bench.pool.set_share(share(0, 0));
    sleep(OPEN).await;
    assert_eq!(refused(acquire(&bench.pool).await).reason, Reason::NoPrimary);
    settle().await;
    assert_eq!((bench.attempts().len(), bench.circuit()), (0, State::Open));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_connection_that_dies_is_told_of_the_circuit() {
    let bench = guarded(Lane::Read, 0, 1);
    let mut held = bench.all_in_use(1).await;
    let waiting = caller(&bench.pool).await;
    bench.open_circuit();
    held[0].health = Health::Closed;
    let began = Instant::now();
    drop(held);
    let refusal = refused(waiting.await.unwrap());
    assert_eq!((refusal.reason, began.elapsed()), (Reason::CircuitOpen, Duration::ZERO));
}

/// An administrator ends all sessions: connecting works, so the node does.
#[tokio::test(start_paused = true)]
async fn sessions_that_are_ended_together_open_nothing() {
    let bench = guarded(Lane::Write, 0, 50);
    let held = bench.all_in_use(40).await;
    bench.node.deaths.fetch_add(1, Ordering::SeqCst);
    for lease in held {
        bench.pool.circuit().met(&Fault::lost("terminated"), Instant::now());
        lease.close();
    }
    assert_eq!(bench.all_in_use(40).await.len(), 40);
    assert_eq!(bench.circuit(), State::Closed);
}

/// A burst that the server has no room for is one failure: what is open serves on.
#[tokio::test(start_paused = true)]
async fn a_burst_of_refused_attempts_is_one_failure() {
    let bench = guarded(Lane::Read, 0, 20);
    let held = bench.all_in_use(1).await;
    bench.refuse(Reason::ServerFull, "too many clients");
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(caller(&bench.pool).await);
    }
    assert_eq!(bench.circuit(), State::Closed);
    drop(held);
    for task in waiting {
        drop(task.await.unwrap().expect("it is served by the one that is there"));
    }
}

/// What this instance lacks itself is no failure of the node.
#[tokio::test(start_paused = true)]
async fn a_slow_queue_or_a_full_budget_opens_nothing() {
    let bench = guarded(Lane::Read, 0, 1);
    let held = bench.all_in_use(1).await;
    for _ in 0..20 {
        assert_eq!(refused(acquire(&bench.pool).await).reason, Reason::AcquireTimeout);
        assert_eq!(refused(acquire_at_once(&bench.pool).await).reason, Reason::Busy);
    }
    assert_eq!(bench.circuit(), State::Closed);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn the_circuit_outlives_a_change_of_shares() {
    let bench = guarded(Lane::Write, 0, 10);
    bench.open_circuit();
    bench.pool.set_share(share(0, 0));
    bench.pool.set_share(share(2, 5));
    assert_eq!(refused(acquire(&bench.pool).await).reason, Reason::CircuitOpen);
}

/// A server without room for more connections serves those that it has, and they are not taken out of use.
#[tokio::test(start_paused = true)]
async fn a_full_server_opens_nothing_while_it_serves_what_there_is() {
    let bench = guarded(Lane::Read, 1, 10);
    settle().await;
    bench.refuse(Reason::ServerFull, "too many clients");
    bench.pool.set_share(share(3, 10));
    pass(&bench.pool, Duration::from_secs(120)).await;
    assert!(bench.attempts().len() > 5, "it was asked for the minimum again and again");
    assert_eq!((bench.circuit(), bench.open()), (State::Closed, 1));
    assert!(acquire(&bench.pool).await.is_ok());
}
