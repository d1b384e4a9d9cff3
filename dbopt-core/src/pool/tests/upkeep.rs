//! What idles, grows old, shrinks or is held for too long.

use super::log::Log;
use super::*;
use crate::backend::Health;

/// 4.2, up to the parking: how long bb8 keeps what is parked runs on the real clock.
#[tokio::test(start_paused = true)]
async fn what_idles_above_the_minimum_is_parked_and_taken_out_again() {
    let bench = bench(3, 10);
    drop(bench.all_in_use(10).await);
    pass(&bench.pool, Duration::from_secs(148)).await;
    assert_eq!(bench.pool.lobby.lock().here, 10);
    pass(&bench.pool, Duration::from_secs(4)).await;
    assert_eq!((bench.pool.lobby.lock().here, bench.pool.store.parked()), (3, 7));
    for _ in 0..600 {
        sleep(Duration::from_secs(1)).await;
        bench.pool.maintain();
        assert_eq!(bench.pool.lobby.lock().here, 3, "not even for a moment are there fewer");
        settle().await;
    }
    assert_eq!(bench.all_in_use(10).await.len(), 10);
    assert_eq!(bench.opened(), 10, "parked ones serve before new ones are opened");
}

/// 4.2 on the real clock.
#[tokio::test]
async fn what_idles_is_closed_down_to_the_minimum_and_not_below() {
    let bench = bench_with(Config { idle_timeout: Duration::from_millis(200), ..Config::default() }, 3, 10);
    drop(bench.all_in_use(10).await);
    let (mut fewest, began) = (10, Instant::now());
    while began.elapsed() < Duration::from_millis(900) {
        sleep(Duration::from_millis(20)).await;
        bench.pool.maintain();
        fewest = fewest.min(bench.open());
    }
    assert_eq!((fewest, bench.open(), bench.opened()), (3, 3, 10));
}

/// The last used connection serves the next caller: otherwise a little load would keep all of them from idling.
#[tokio::test(start_paused = true)]
async fn light_load_keeps_only_one_connection_from_idling() {
    let bench = bench(1, 10);
    drop(bench.all_in_use(10).await);
    for _ in 0..160 {
        drop(acquire(&bench.pool).await.unwrap());
        pass(&bench.pool, Duration::from_secs(1)).await;
    }
    assert_eq!(bench.pool.lobby.lock().here, 1);
}

#[tokio::test(start_paused = true)]
async fn old_connections_are_replaced_before_they_are_closed() {
    let bench = bench(5, 10);
    bench.pool.warm().await.unwrap();
    *bench.node.connect_delay.lock() = Duration::from_millis(100);
    let mut closings = Vec::new();
    for second in 1..=7300 {
        pass(&bench.pool, Duration::from_secs(1)).await;
        assert!((5..=10).contains(&bench.open()), "{} open", bench.open());
        let closed = bench.opened() - bench.open();
        if closed > closings.len() {
            closings.resize(closed, second);
        }
    }
    assert!(closings.len() >= 10, "each lived for an hour at most: {closings:?}");
    let first_life = &closings[..5];
    assert!(first_life.iter().all(|s| (3240..=3603).contains(s)), "{closings:?}");
    assert!(first_life[0] != first_life[4], "not all at once: {closings:?}");
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_never_idle_grow_old_too() {
    let config =
        Config { max_lifetime: Duration::from_secs(600), idle_timeout: Duration::from_secs(300), ..Config::default() };
    let bench = bench_with(config, 1, 1);
    let mut held = bench.all_in_use(1).await;
    for _ in 0..610 {
        let waiting = caller(&bench.pool).await;
        held.clear();
        held.push(waiting.await.unwrap().unwrap());
        pass(&bench.pool, Duration::from_secs(1)).await;
    }
    assert_eq!((bench.opened(), bench.open()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_smaller_share_closes_at_once_what_nobody_uses() {
    let bench = bench(0, 10);
    let mut held = bench.all_in_use(10).await;
    held.truncate(6);
    pass(&bench.pool, Duration::from_secs(151)).await;
    held.truncate(4);
    assert_eq!((bench.pool.store.parked(), bench.pool.in_use(), bench.open()), (4, 4, 10));
    bench.pool.set_share(share(0, 5));
    assert_eq!(bench.open(), 5, "parked ones and one that was ready");
    bench.pool.set_share(share(0, 2));
    assert_eq!(bench.open(), 4, "those in use");
    held.clear();
    assert_eq!(bench.open(), 2, "close as they come back");
    bench.pool.set_share(share(7, 10));
    settle().await;
    assert_eq!(bench.open(), 7, "a larger minimum is opened at once");
}

#[tokio::test(start_paused = true)]
async fn a_larger_share_serves_those_who_wait_at_once() {
    let bench = bench(0, 1);
    let _held = bench.all_in_use(1).await;
    let waiting = caller(&bench.pool).await;
    let began = Instant::now();
    bench.pool.set_share(share(0, 2));
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_leaves_no_connection_behind_and_none_is_handed_out() {
    let bench = bench(0, 10);
    drop(bench.all_in_use(10).await);
    pass(&bench.pool, Duration::from_secs(151)).await;
    assert_eq!((bench.pool.store.parked(), bench.open()), (10, 10));
    bench.node.kill();
    bench.node.revive();
    let lease = acquire(&bench.pool).await.unwrap();
    assert_eq!((lease.number, bench.open()), (10, 1), "what died while it was parked is closed");
    drop(lease);
    drop(bench.all_in_use(3).await);
    pass(&bench.pool, Duration::from_secs(151)).await;
    drop(acquire(&bench.pool).await.unwrap());
    bench.pool.drop_idle();
    assert_eq!(bench.open(), 0, "ready and parked ones");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_in_the_middle_leaves_a_clean_connection() {
    for left in [Health::Busy, Health::InTransaction] {
        let bench = bench(0, 1);
        *bench.node.recovery.lock() = Some(Duration::from_millis(30));
        let mut held = bench.all_in_use(1).await;
        let waiting = caller(&bench.pool).await;
        held[0].health = left;
        let began = Instant::now();
        held.clear();
        assert_eq!(bench.pool.in_use(), 1, "it counts as used until it is clean");
        let lease = waiting.await.unwrap().unwrap();
        assert_eq!((lease.health, lease.number), (Health::Clean, 0));
        assert_eq!(began.elapsed(), Duration::from_millis(30));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_cannot_be_recovered_frees_its_place() {
    for (recovery, after) in [(None, Duration::ZERO), (Some(Duration::from_secs(60)), Duration::from_secs(2))] {
        let bench = bench(0, 1);
        *bench.node.recovery.lock() = recovery;
        let mut held = bench.all_in_use(1).await;
        let waiting = caller(&bench.pool).await;
        held[0].health = Health::Busy;
        let began = Instant::now();
        held.clear();
        let lease = waiting.await.unwrap().unwrap();
        assert_eq!((lease.number, bench.open(), began.elapsed()), (1, 1, after), "another one was opened");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_closed_by_its_caller_makes_room_for_another() {
    let bench = bench(0, 1);
    let mut held = bench.all_in_use(1).await;
    let waiting = caller(&bench.pool).await;
    let began = Instant::now();
    held.remove(0).close();
    assert_eq!(waiting.await.unwrap().unwrap().number, 1);
    assert_eq!((bench.open(), began.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_method_that_holds_a_connection_for_too_long_is_named_once() {
    let (log, _guard) = Log::keep();
    let bench = bench(0, 2);
    let held = bench.all_in_use(1).await;
    pass(&bench.pool, Duration::from_secs(59)).await;
    assert!(log.with("leak_warning").is_empty());
    pass(&bench.pool, Duration::from_secs(300)).await;
    let warnings = log.with("leak_warning");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("Things::slow") && warnings[0].contains("held_ms=6"), "{warnings:?}");
    // The next holder is another case.
    drop(held);
    let _held = bench.all_in_use(1).await;
    pass(&bench.pool, Duration::from_secs(62)).await;
    assert_eq!(log.with("leak_warning").len(), 2);
}
