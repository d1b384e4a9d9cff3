//! Who is served when, and what happens to those who give up.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::time::timeout;

use super::*;

#[tokio::test(start_paused = true)]
async fn callers_are_served_in_the_order_they_came() {
    let bench = bench(0, 1);
    let held = bench.all_in_use(1).await;
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for i in 0..20 {
        let (pool, order) = (bench.pool.clone(), order.clone());
        tasks.push(tokio::spawn(async move {
            let lease = acquire(&pool).await.unwrap();
            order.lock().push(i);
            // Whoever comes back with the connection in hand stands at the end of the queue again.
            drop(lease);
            drop(acquire(&pool).await.unwrap());
        }));
        settle().await;
    }
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock(), (0..20).collect::<Vec<_>>());
}

/// perf.md 4.5: plain bb8 leaves the slowest of them with nothing.
#[tokio::test(start_paused = true)]
async fn sixty_four_tasks_share_twenty_connections_evenly() {
    let bench = bench(0, 20);
    let until = Instant::now() + Duration::from_secs(2);
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let pool = bench.pool.clone();
            tokio::spawn(async move {
                let mut served = 0u32;
                while Instant::now() < until {
                    let _lease = acquire(&pool).await.unwrap();
                    sleep(Duration::from_millis(1)).await;
                    served += 1;
                }
                served
            })
        })
        .collect();
    let mut counts = Vec::new();
    for task in tasks {
        counts.push(task.await.unwrap());
    }
    let (least, most) = (*counts.iter().min().unwrap(), *counts.iter().max().unwrap());
    assert!(f64::from(least) >= 0.9 * f64::from(most), "{counts:?}");
    assert!(least > 300, "they keep all connections busy: {counts:?}");
    assert_eq!((bench.opened(), bench.pool.in_use()), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_gives_up_in_the_queue_is_passed_over() {
    let bench = bench(0, 1);
    let held = bench.all_in_use(1).await;
    let (first, second) = (caller(&bench.pool).await, caller(&bench.pool).await);
    first.abort();
    settle().await;
    drop(held);
    assert!(second.await.unwrap().is_ok());
    assert_eq!((bench.opened(), bench.pool.in_use(), bench.pool.status().waiting), (1, 0, 0));
}

/// The connection is already in its hand, which it never opens.
#[tokio::test(start_paused = true)]
async fn a_caller_who_gives_up_just_when_it_is_served_hands_the_connection_on() {
    let bench = bench(0, 1);
    let held = bench.all_in_use(1).await;
    let next;
    {
        let mut leaving = pin!(acquire(&bench.pool));
        let polled = leaving.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending));
        next = caller(&bench.pool).await;
        drop(held);
        settle().await;
        assert!(!next.is_finished(), "it was given to the one before");
    }
    assert!(next.await.unwrap().is_ok());
    assert_eq!((bench.opened(), bench.open(), bench.pool.in_use()), (1, 1, 0));
    assert_eq!(bench.pool.lobby.lock().taken_seats(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_when_its_caller_gives_up_while_it_is_opened() {
    let bench = bench(0, 5);
    *bench.node.connect_delay.lock() = Duration::from_millis(100);
    assert!(timeout(Duration::from_millis(50), acquire(&bench.pool)).await.is_err());
    sleep(Duration::from_millis(60)).await;
    let began = Instant::now();
    assert!(acquire(&bench.pool).await.is_ok());
    assert_eq!((bench.opened(), began.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_connection_returned_on_a_thread_without_runtime_serves_the_next_caller() {
    let bench = bench(0, 1);
    let mut held = bench.all_in_use(1).await;
    let waiting = caller(&bench.pool).await;
    held[0].health = crate::backend::Health::Busy;
    std::thread::spawn(move || drop(held)).join().unwrap();
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(bench.opened(), 1, "it was recovered, not thrown away");
}

/// 4.1: a burst opens no more than the budget, however the pools share it.
#[tokio::test(start_paused = true)]
async fn many_callers_on_many_pools_stay_within_the_budget() {
    let cluster = FakeCluster::default();
    let budget = Budget::new(50);
    let pools: Vec<_> = ["a", "b", "c"].map(|name| pool_on(&cluster, name, &budget, Config::default())).into();
    for (node, pool) in &pools {
        *node.connect_delay.lock() = Duration::from_millis(5);
        pool.set_share(share(0, 30));
    }
    let tasks: Vec<_> = (0..200)
        .map(|i| {
            let pool = pools[i % 3].1.clone();
            tokio::spawn(async move {
                let _lease = acquire(&pool).await.unwrap();
                sleep(Duration::from_millis(50)).await;
            })
        })
        .collect();
    let mut most = 0;
    while tasks.iter().any(|task| !task.is_finished()) {
        sleep(Duration::from_millis(1)).await;
        let open: usize = pools.iter().map(|(node, _)| node.open.load(Ordering::SeqCst)).sum();
        assert_eq!(open, budget.open().min(open), "the budget knows of every one");
        most = most.max(open);
    }
    assert_eq!(most, 50);
    for task in tasks {
        task.await.unwrap();
    }
}
