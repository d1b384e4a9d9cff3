//! R5: results kept in memory and in Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use dbopt_diesel::Db;
use dbopt_tests::shelf::{Item, until_stored};
use dbopt_tests::{cached_config, calls, cluster, cluster_with_redis, config, connect, openmetrics, shelf, until};
use futures_util::future::join_all;
use futures_util::stream;
use tokio::time::Instant;

async fn redis(cluster: &dbopt_diesel::dev::Cluster) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(cluster.redis().unwrap().url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// How long the only value in Redis lives still.
async fn remaining(cluster: &dbopt_diesel::dev::Cluster) -> Duration {
    let mut redis = redis(cluster).await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("dbopt:*v:*").query_async(&mut redis).await.unwrap();
    assert_eq!(keys.len(), 1, "{keys:?}");
    let millis: u64 = redis::cmd("PTTL").arg(&keys[0]).query_async(&mut redis).await.unwrap();
    Duration::from_millis(millis)
}

#[tokio::test]
async fn r05_1_another_instance_finds_the_result_in_redis_where_it_lives_for_300_seconds() {
    let cluster = cluster_with_redis(1).await;
    let (one, other) = (shelf(cached_config(&cluster)).await, shelf(cached_config(&cluster)).await);
    one.set(1, 10).await.unwrap();
    let item = one.find(1).await.unwrap();
    assert_eq!(item, Some(Item { id: 1, value: 10 }));
    until_stored(&one, 1).await;
    assert_eq!(other.find(1).await.unwrap(), item);
    assert_eq!((one.loads(), other.loads()), (1, 0));
    let left = remaining(&cluster).await;
    // Up to a tenth less, so that what was filled together does not expire together.
    assert!(left > Duration::from_secs(265) && left <= Duration::from_secs(300), "{left:?}");
}

#[tokio::test]
async fn r05_1_the_time_is_configured_for_all_and_said_by_methods_for_themselves() {
    let cluster = cluster_with_redis(0).await;
    let mut config = cached_config(&cluster);
    config.cache.ttl = Duration::from_secs(20);
    config.cache.l1_ttl = Duration::from_secs(5);
    let shelf = shelf(config).await;
    shelf.find(1).await.unwrap();
    until_stored(&shelf, 1).await;
    assert!(remaining(&cluster).await <= Duration::from_secs(20));
    shelf.db.cache().clear().await.unwrap();
    shelf.count().await.unwrap();
    until_stored(&shelf, 2).await;
    assert!(remaining(&cluster).await > Duration::from_secs(3000), "this method says an hour");
}

#[tokio::test]
async fn r05_2_memory_keeps_the_thousand_results_asked_for_last() {
    let cluster = cluster(0).await;
    let shelf = shelf(config(&cluster)).await;
    for id in 0..1500 {
        shelf.find(id).await.unwrap();
    }
    let status = shelf.db.cache().status();
    assert_eq!((status.l1_entries, status.l1_evicted), (1000, 500));
    let loads = shelf.loads();
    for id in 1490..1500 {
        shelf.find(id).await.unwrap();
    }
    assert_eq!(shelf.loads(), loads, "the last ones are there");
    shelf.find(0).await.unwrap();
    assert_eq!(shelf.loads(), loads + 1, "the first ones had to go");
}

#[tokio::test]
async fn r05_2_memory_keeps_results_for_the_configured_time() {
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    assert_eq!((config.cache.entries.get(), config.cache.l1_ttl), (1000, Duration::from_secs(60)));
    config.cache.l1_ttl = Duration::from_millis(150);
    let shelf = shelf(config).await;
    shelf.find(1).await.unwrap();
    shelf.find(1).await.unwrap();
    assert_eq!(shelf.loads(), 1);
    let reloaded = async || {
        shelf.find(1).await.unwrap();
        shelf.loads() == 2
    };
    until("it expires", Duration::from_secs(2), reloaded).await;
}

#[tokio::test]
async fn r05_3_a_result_that_is_cached_needs_no_database() {
    let cluster = cluster_with_redis(1).await;
    let (one, other) = (shelf(cached_config(&cluster)).await, shelf(cached_config(&cluster)).await);
    one.set(1, 10).await.unwrap();
    let item = one.find(1).await.unwrap();
    until_stored(&one, 1).await;
    for node in cluster.nodes() {
        node.kill().await.unwrap();
    }
    assert_eq!(one.find(1).await.unwrap(), item, "from memory");
    assert_eq!(other.find(1).await.unwrap(), item, "from Redis");
    assert_eq!(other.find(1).await.unwrap(), item, "from memory, where it came from Redis");
    assert_eq!(calls(&other.db, "read").values().sum::<u64>(), 0);
    let status = other.db.cache().status();
    assert_eq!((status.l1_hits, status.l1_misses, status.l2_hits), (1, 1, 1));
    assert!(one.find(2).await.is_err(), "what is not cached does need one");
}

#[tokio::test]
async fn r05_4_a_write_invalidates_what_it_names_on_every_instance() {
    let cluster = cluster_with_redis(1).await;
    let (one, other) = (shelf(cached_config(&cluster)).await, shelf(cached_config(&cluster)).await);
    one.set(1, 10).await.unwrap();
    for shelf in [&one, &other] {
        assert_eq!(shelf.find(1).await.unwrap().unwrap().value, 10);
        shelf.find(1).await.unwrap();
    }
    one.set(1, 11).await.unwrap();
    assert_eq!(one.find(1).await.unwrap().unwrap().value, 11, "at once where it was written");
    let heard = async || other.find(1).await.unwrap().unwrap().value == 11;
    until("the other instance hears of it", Duration::from_secs(1), heard).await;
}

#[tokio::test]
async fn r05_4_a_result_that_was_read_before_a_write_is_not_kept_after_it() {
    let cluster = cluster(0).await;
    let shelf = shelf(config(&cluster)).await;
    shelf.set(1, 10).await.unwrap();
    // The body takes its snapshot, and the write comes in between.
    let (read, ()) = tokio::join!(shelf.slow(1, 0.5), async {
        until("the read is under way", Duration::from_secs(2), async || shelf.loads() == 1).await;
        shelf.set(1, 11).await.unwrap();
    });
    assert!(read.is_ok());
    shelf.slow(1, 0.5).await.unwrap();
    assert_eq!(shelf.loads(), 2, "the first result was fenced off");
    assert_eq!(shelf.db.cache().status().l1_invalidated, 1);
}

#[tokio::test]
async fn r05_4_a_replica_that_lags_does_not_fill_the_cache_with_old_data() {
    let cluster = cluster_with_redis(2).await;
    let shelf = shelf(cached_config(&cluster)).await;
    shelf.set(1, 10).await.unwrap();
    cluster.wait_caught_up(Duration::from_secs(5)).await.unwrap();
    for replica in cluster.replicas() {
        replica.pause_replay().await.unwrap();
    }
    shelf.set(1, 11).await.unwrap();
    // No context, no token: what the tags remember is enough.
    for _ in 0..10 {
        assert_eq!(shelf.find(1).await.unwrap().unwrap().value, 11);
        assert_eq!(shelf.near(1).await.unwrap().unwrap().value, 11);
    }
}

#[tokio::test]
async fn r05_5_warming_loads_ahead_and_leaves_connections_to_others() {
    let cluster = cluster_with_redis(1).await;
    let shelf = shelf(cached_config(&cluster)).await;
    let read_lane = |db: &Db| {
        db.status().nodes.iter().flat_map(|n| n.pools.clone()).filter(|p| p.lane == "read").collect::<Vec<_>>()
    };
    let max: usize = read_lane(&shelf.db).iter().map(|pool| pool.max).sum();
    let mut told = Vec::new();
    let mut busiest = 0;
    let warmed = {
        let calls = stream::iter((0..100).map(|id| shelf.find(id)));
        let progress = |done| {
            told.push(done);
            busiest = busiest.max(read_lane(&shelf.db).iter().map(|pool| pool.in_use).sum());
        };
        shelf.db.cache().warm(calls, progress).await
    };
    assert_eq!((warmed.succeeded, warmed.failed, shelf.loads()), (100, 0, 100));
    assert_eq!(told, (1..=100).collect::<Vec<_>>());
    assert!(busiest * 4 <= max + 3, "{busiest} of {max}");
    join_all((0..100).map(|id| shelf.find(id))).await;
    assert_eq!(shelf.loads(), 100, "all of it was there");
}

#[tokio::test]
async fn a_thousand_who_miss_at_once_make_one_load() {
    let cluster = cluster_with_redis(1).await;
    let (one, other) = (shelf(cached_config(&cluster)).await, shelf(cached_config(&cluster)).await);
    one.set(1, 10).await.unwrap();
    let calls = (0..1000).map(|i| if i % 2 == 0 { one.slow(1, 0.3) } else { other.slow(1, 0.3) });
    let results = join_all(calls).await;
    assert!(results.iter().all(|result| result.as_ref().is_ok_and(|item| item.value == 10)));
    assert_eq!(one.loads() + other.loads(), 1, "one over both instances");
}

#[tokio::test]
async fn a_load_that_fails_is_shared_too() {
    let cluster = cluster(0).await;
    let shelf = shelf(config(&cluster)).await;
    let results = join_all((0..50).map(|_| shelf.slow(7, 0.2))).await;
    assert!(results.iter().all(|result| matches!(result, Err(diesel::result::Error::NotFound))));
    assert_eq!(shelf.loads(), 1);
}

#[tokio::test]
async fn what_is_not_there_is_remembered_only_by_choice() {
    let cluster = cluster(0).await;
    let shelf = shelf(config(&cluster)).await;
    for _ in 0..3 {
        assert_eq!(shelf.find(9).await.unwrap(), None);
    }
    assert_eq!(shelf.loads(), 1);
    for _ in 0..3 {
        assert_eq!(shelf.present(9).await.unwrap(), None);
    }
    assert_eq!(shelf.loads(), 4);
}

#[tokio::test]
async fn a_result_that_expired_stands_in_while_the_database_is_gone() {
    let cluster = cluster(0).await;
    let shelf = shelf(config(&cluster)).await;
    shelf.set(1, 10).await.unwrap();
    shelf.set(2, 20).await.unwrap();
    shelf.tolerant(1).await.unwrap();
    shelf.tolerant(2).await.unwrap();
    shelf.set(2, 21).await.unwrap();
    cluster.primary().kill().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(shelf.tolerant(1).await.unwrap().unwrap().value, 10);
    assert!(shelf.tolerant(2).await.is_err(), "what was changed since does not");
    assert_eq!(shelf.db.cache().status().stale_served, 1);
}

#[tokio::test]
async fn without_a_cache_every_call_reads() {
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    config.cache.enabled = false;
    let shelf = dbopt_tests::Shelf::new(connect(config).await);
    for _ in 0..3 {
        shelf.find(1).await.unwrap();
    }
    shelf.set(1, 1).await.unwrap();
    assert_eq!(shelf.loads(), 3);
}

#[tokio::test]
async fn r05_5_warming_on_a_schedule_keeps_results_there() {
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    config.cache.l1_ttl = Duration::from_millis(100);
    config.cache.ttl = Duration::from_millis(100);
    let shelf = shelf(config).await;
    let warmed = shelf.clone();
    shelf.db.cache().warm_every(Duration::from_millis(50), move || {
        let shelf = warmed.clone();
        stream::iter((0..3).map(move |id| {
            let shelf = shelf.clone();
            async move { shelf.find(id).await }
        }))
    });
    until("it is warmed again and again", Duration::from_secs(5), async || shelf.loads() >= 9).await;
    shelf.db.shutdown().await;
    let loads = shelf.loads();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(shelf.loads(), loads, "until the instance is shut down");
}

#[tokio::test]
async fn a_caller_who_goes_away_while_it_loads_keeps_nobody_waiting() {
    let cluster = cluster_with_redis(1).await;
    let (one, other) = (shelf(cached_config(&cluster)).await, shelf(cached_config(&cluster)).await);
    one.set(1, 10).await.unwrap();
    let leaving = tokio::spawn({
        let one = one.clone();
        async move { one.slow(1, 0.2).await }
    });
    until("it loads", Duration::from_secs(5), async || one.loads() == 1).await;
    leaving.abort();
    let began = Instant::now();
    let (here, there) = tokio::join!(one.slow(1, 0.2), other.slow(1, 0.2));
    assert_eq!((here.unwrap().value, there.unwrap().value), (10, 10));
    // Well below the three seconds that a lease lasts.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_the_cache_does_is_counted_by_layer_and_by_method() {
    let cluster = cluster_with_redis(0).await;
    let mut config = cached_config(&cluster);
    config.cache.entries = 100.try_into().unwrap();
    let (one, other) = (shelf(config.clone()).await, shelf(config).await);
    for id in 0..120 {
        one.find(id).await.unwrap();
    }
    until_stored(&one, 120).await;
    for _ in 0..3 {
        other.find(119).await.unwrap();
    }
    one.slow(1, 0.2).await.unwrap_err();
    one.set(1, 10).await.unwrap();
    one.slow(1, 0.2).await.unwrap();
    let (one, other) = (one.db.runtime().metrics(), other.db.runtime().metrics());
    let (one, other) = (openmetrics::parse(&one).unwrap(), openmetrics::parse(&other).unwrap());
    let lookups = |page: &openmetrics::Metrics, layer, method, result| {
        page.sum("dbopt_cache_lookups_total", &[("layer", layer), ("method", method), ("result", result)])
    };
    assert_eq!(lookups(&one, "memory", "Shelf::find", "miss"), 120.0);
    assert_eq!(lookups(&one, "redis", "Shelf::find", "miss"), 120.0);
    assert_eq!(lookups(&one, "redis", "Shelf::slow", "miss"), 2.0);
    assert_eq!(lookups(&other, "redis", "Shelf::find", "hit"), 1.0);
    assert_eq!(lookups(&other, "memory", "Shelf::find", "hit"), 2.0);
    let evicted = one.sum("dbopt_cache_left_total", &[("method", "Shelf::find"), ("reason", "evicted")]);
    assert!(evicted >= 20.0, "{evicted}");
    assert!(one.sum("dbopt_cache_load_seconds_total", &[]) >= 0.2);
    assert_eq!(other.sum("dbopt_cache_load_seconds_total", &[]), 0.0);
}
