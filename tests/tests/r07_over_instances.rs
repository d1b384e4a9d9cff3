//! R7 on real servers: limits that hold over several instances, with Redis and while it is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use dbopt_diesel::core::limit::WhenLost;
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use dbopt_diesel::{Error, ErrorKind};
use dbopt_tests::{Desk, cached_config, cluster_with_redis, connect, until};
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// A desk whose limits are counted in Redis, once that is connected.
async fn desk(cluster: &Cluster, change: impl Fn(&mut Config)) -> Desk {
    let mut config = cached_config(cluster);
    // A build that is not optimised, on a machine that has other things to do, is no slow Redis.
    config.limit.timeout = Duration::from_millis(250);
    change(&mut config);
    let desk = Desk::new(connect(config).await);
    let connected = async || desk.db.status().limits.redis == "up";
    until("Redis is connected", Duration::from_secs(5), connected).await;
    desk
}

fn rates(text: &str) -> dbopt_diesel::core::rate::Rates {
    text.parse().unwrap()
}

fn is_refused<T>(result: &Result<T, diesel::result::Error>) -> bool {
    let kind = result.as_ref().err().and_then(Error::of).map(Error::kind);
    matches!(kind, Some(ErrorKind::RateLimited { .. }))
}

/// How many of so many calls one after another are admitted.
async fn admitted(desk: &Desk, user: &str, calls: usize) -> usize {
    let work = async {
        let mut admitted = 0;
        for _ in 0..calls {
            let result = desk.read(1).await;
            admitted += usize::from(result.is_ok());
            assert!(result.is_ok() || is_refused(&result), "{result:?}");
        }
        admitted
    };
    Context::user(user).scope(work).await
}

#[tokio::test]
async fn r07_1_a_users_limit_holds_over_instances() {
    let cluster = cluster_with_redis(0).await;
    let [one, other] = [desk(&cluster, |_| ()).await, desk(&cluster, |_| ()).await];
    let first = admitted(&one, "ann", 60).await;
    let second = admitted(&other, "ann", 60).await;
    assert_eq!(first, 60);
    // What the first one fetched ahead and has not given back is missing here.
    assert!((35..=40).contains(&second), "{second}");
    assert_eq!(admitted(&other, "bob", 10).await, 10);
}

#[tokio::test]
async fn r07_2_the_limit_of_all_holds_over_instances_and_is_fetched_ahead() {
    let cluster = cluster_with_redis(0).await;
    let change = |config: &mut Config| {
        config.limit.per_user = rates("");
        config.limit.global = rates("400/min");
    };
    let [one, other] = [desk(&cluster, change).await, desk(&cluster, change).await];
    let (a, b) = tokio::join!(admitted(&one, "ann", 400), admitted(&other, "bob", 400));
    assert!(a + b <= 400, "{a} + {b}");
    // At worst what both may hold: a twentieth each.
    assert!(a + b >= 360, "{a} + {b}");
    let status = one.db.status().limits;
    assert!(status.leased > 0 && status.asked < a as u64 + 200, "{status:?}");
}

#[tokio::test]
async fn r07_2_user_and_global_are_taken_together_or_not_at_all() {
    let cluster = cluster_with_redis(0).await;
    let change = |config: &mut Config| {
        config.limit.per_user = rates("5/min");
        config.limit.global = rates("12/min");
    };
    let desk = desk(&cluster, change).await;
    assert_eq!(admitted(&desk, "ann", 30).await, 5);
    assert_eq!(admitted(&desk, "bob", 30).await, 5);
    // Refused calls of the two took nothing of the limit of all.
    assert_eq!(admitted(&desk, "eve", 5).await, 2);
    // And those that this one refused took nothing of Eve's.
    let redis = redis::Client::open(cluster.redis().unwrap().url()).unwrap();
    let mut redis = redis.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("dbopt:*:l:user:*").query_async(&mut redis).await.unwrap();
    let mut counts = Vec::new();
    for key in keys {
        let text: Vec<u8> = redis::cmd("GET").arg(&key).query_async(&mut redis).await.unwrap();
        let count = |pair: &[u8]| u32::from_le_bytes([pair[6], pair[7], pair[8], pair[9]]);
        counts.push(text.chunks_exact(10).map(count).sum::<u32>());
        let left: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut redis).await.unwrap();
        assert!(left > 60_000 && left < 75_000, "what is in Redis has a lifetime: {left}");
        assert!(!key.contains("ann") && !key.contains("eve"), "no user is named: {key}");
    }
    counts.sort_unstable();
    assert_eq!(counts, [2, 5, 5]);
}

/// Many tasks of two instances for the same few users: never more than the limit in any window, by one clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r07_4_no_window_over_instances_holds_more_than_the_limit() {
    let cluster = cluster_with_redis(0).await;
    let change = |config: &mut Config| {
        config.limit.per_user = rates("40/s");
        config.limit.global = rates("");
    };
    let desks = [desk(&cluster, change).await, desk(&cluster, change).await];
    let end = Instant::now() + Duration::from_secs(4);
    let mut tasks = JoinSet::new();
    for i in 0..8 {
        let desk = desks[i % 2].clone();
        tasks.spawn(Context::user("ann").scope(async move {
            let mut log = Vec::new();
            while Instant::now() < end {
                // Hits are not in the way of the database, and count.
                if !is_refused(&desk.read(1).await) {
                    log.push(Instant::now());
                }
                sleep(Duration::from_millis(4)).await;
            }
            log
        }));
    }
    let mut log: Vec<Instant> = tasks.join_all().await.into_iter().flatten().collect();
    log.sort();
    println!("{} admitted", log.len());
    // The body takes a while after its permit: such a call may be logged up to that much later.
    for (i, at) in log.iter().enumerate() {
        let inside = log[..=i].iter().filter(|other| **other + Duration::from_millis(950) > *at).count();
        assert!(inside <= 40, "{inside} at {i}");
    }
    assert!(log.len() >= 80, "{}", log.len());
}

#[tokio::test]
async fn without_redis_each_instance_admits_its_share_and_tells_afterwards() {
    let cluster = cluster_with_redis(0).await;
    let change = |config: &mut Config| {
        config.limit.per_user = rates("40/min");
        config.limit.global = rates("");
        config.limit.timeout = Duration::from_millis(50);
    };
    let [one, other] = [desk(&cluster, change).await, desk(&cluster, change).await];
    until("they know of each other", Duration::from_secs(5), async || {
        [&one, &other].iter().all(|desk| desk.db.status().limits.instances == 2)
    })
    .await;
    let redis = cluster.redis().unwrap();
    redis.freeze().await.unwrap();
    let began = Instant::now();
    let (a, b) = tokio::join!(admitted(&one, "ann", 40), admitted(&other, "ann", 40));
    assert_eq!((a, b), (20, 20), "half of the limit each");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let checks = one.db.status().limits;
    assert!(checks.methods.iter().map(|m| m.degraded).sum::<u64>() == 20 && checks.redis == "down", "{checks:?}");
    redis.thaw().await.unwrap();
    until("Redis answers", Duration::from_secs(10), async || {
        [&one, &other].iter().all(|desk| desk.db.status().limits.redis == "up")
    })
    .await;
    sleep(Duration::from_millis(1500)).await;
    let after = admitted(&one, "ann", 40).await + admitted(&other, "ann", 40).await;
    assert_eq!(after, 0, "what was admitted meanwhile counts");
}

#[tokio::test]
async fn a_redis_that_lost_its_data_is_told_what_was_admitted() {
    let cluster = cluster_with_redis(0).await;
    let change = |config: &mut Config| {
        config.limit.per_user = rates("40/min");
        config.limit.global = rates("");
    };
    let desk = desk(&cluster, change).await;
    assert_eq!(admitted(&desk, "ann", 40).await, 40);
    let redis = cluster.redis().unwrap();
    redis.kill().await.unwrap();
    until("it is lost", Duration::from_secs(5), async || desk.db.status().limits.redis == "down").await;
    redis.start().await.unwrap();
    until("it is back", Duration::from_secs(10), async || desk.db.status().limits.redis == "up").await;
    assert_eq!(admitted(&desk, "ann", 10).await, 0);
    assert_eq!(admitted(&desk, "bob", 10).await, 10);
}

#[tokio::test]
async fn the_policy_for_a_lost_redis_may_be_open_or_closed() {
    let cluster = cluster_with_redis(0).await;
    let with = |policy: WhenLost| {
        move |config: &mut Config| {
            config.limit.when_redis_is_lost = policy;
            config.limit.per_user = rates("3/min");
        }
    };
    let open = desk(&cluster, with(WhenLost::Open)).await;
    let closed = desk(&cluster, with(WhenLost::Closed)).await;
    cluster.redis().unwrap().kill().await.unwrap();
    for desk in [&open, &closed] {
        until("it is lost", Duration::from_secs(5), async || desk.db.status().limits.redis == "down").await;
    }
    assert_eq!(admitted(&open, "ann", 20).await, 20);
    assert_eq!(admitted(&closed, "ann", 20).await, 0);
    let error = closed.read(1).await.unwrap_err().to_string();
    assert!(error.contains("Redis does not answer") && error.contains("when_redis_is_lost"), "{error}");
}

#[tokio::test]
async fn permits_that_were_not_used_go_back() {
    let cluster = cluster_with_redis(0).await;
    let change = |config: &mut Config| {
        config.limit.per_user = rates("100/min");
        config.limit.lease_share = 0.5;
    };
    let [one, other] = [desk(&cluster, change).await, desk(&cluster, change).await];
    let first = admitted(&one, "ann", 20).await;
    until("they went back", Duration::from_secs(5), async || one.db.status().limits.returned > 0).await;
    sleep(Duration::from_millis(700)).await;
    let second = admitted(&other, "ann", 100).await;
    assert_eq!(first + second, 100);
    // What an instance holds when it is shut down goes back, too.
    let third = desk(&cluster, change).await;
    assert_eq!(admitted(&third, "bob", 20).await, 20);
    third.db.shutdown().await;
    assert_eq!(admitted(&other, "bob", 100).await, 80);
}

/// More users than there is room for: nobody is admitted too often, and memory stays what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_names_exceeds_nothing() {
    let cluster = cluster_with_redis(0).await;
    let change = |config: &mut Config| {
        config.limit.per_user = rates("3/min");
        config.limit.global = rates("");
        config.limit.callers = 16;
    };
    let desk = Arc::new(desk(&cluster, change).await);
    let each = (0..200).map(|user| {
        let desk = desk.clone();
        async move { admitted(&desk, &format!("user {user}"), 4).await }
    });
    let counts = join_all(each).await;
    assert!(counts.iter().all(|count| *count == 3), "{counts:?}");
    let limits = desk.db.status().limits.limits;
    assert!(limits.iter().all(|limit| limit.callers <= 40), "{limits:?}");
}

/// Four processes at three times the limit, judged by one clock; a longer form is `cargo run --release -p dbopt-tests --bin limits`.
async fn four_processes(options: &[&str]) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_limits"));
    let output = command.args(["--checks", "9000", "--limit", "3000"]).args(options).output().await.unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{told}");
    assert!(output.status.success(), "{told}");
}

#[tokio::test]
async fn r07_2_four_processes_never_admit_more_than_the_limit_and_little_less() {
    four_processes(&[]).await;
}

#[tokio::test]
async fn r07_1_four_processes_of_one_user_never_admit_more_than_the_limit_and_little_less() {
    four_processes(&["--user"]).await;
}

#[tokio::test]
async fn a_killed_process_takes_no_more_with_it_than_it_had_fetched() {
    four_processes(&["--kill"]).await;
}
