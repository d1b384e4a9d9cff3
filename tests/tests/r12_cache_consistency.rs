//! R12: the cache says what the database says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use dbopt_diesel::Context;
use dbopt_diesel::dev::{Cluster, Proxy};
use dbopt_tests::shelf::until_stored;
use dbopt_tests::{Shelf, cached_config, cluster, cluster_with_redis, config, shelf, until};
use tokio::task::JoinHandle;
use tokio::time::Instant;

async fn value(shelf: &Shelf, id: i64) -> i64 {
    shelf.find(id).await.unwrap().unwrap().value
}

#[tokio::test]
async fn r12_1_an_update_invalidates_every_result_it_touches() {
    let cluster = cluster_with_redis(1).await;
    let shelf = shelf(cached_config(&cluster)).await;
    shelf.set(1, 10).await.unwrap();
    shelf.set(2, 20).await.unwrap();
    let read_all = async || {
        let item = value(&shelf, 1).await;
        let near = shelf.near(1).await.unwrap().unwrap().value;
        let exact = shelf.exact(1).await.unwrap().unwrap().value;
        let list = shelf.between(0, 5).await.unwrap();
        let shorter = shelf.between(0, 1).await.unwrap();
        (item, near, exact, list[0].value, shorter[0].value)
    };
    assert_eq!(read_all().await, (10, 10, 10, 10, 10));
    shelf.set(1, 11).await.unwrap();
    assert_eq!(read_all().await, (11, 11, 11, 11, 11));
}

#[tokio::test]
async fn r12_2_a_tag_reaches_the_results_that_have_it_and_no_others() {
    let cluster = cluster_with_redis(0).await;
    let shelf = shelf(cached_config(&cluster)).await;
    shelf.set(1, 10).await.unwrap();
    shelf.set(2, 20).await.unwrap();
    value(&shelf, 1).await;
    value(&shelf, 2).await;
    shelf.count().await.unwrap();
    until_stored(&shelf, 3).await;
    assert_eq!(shelf.loads(), 3);
    shelf.db.cache().invalidate_tags(["item:1"]).await;
    value(&shelf, 2).await;
    shelf.count().await.unwrap();
    assert_eq!(shelf.loads(), 3, "those do not have it");
    value(&shelf, 1).await;
    assert_eq!(shelf.loads(), 4);
    // The tag may be found in what the write returns.
    shelf.bump(2).await.unwrap();
    assert_eq!(value(&shelf, 2).await, 21);
}

#[tokio::test]
async fn r12_3_an_invalidation_that_fails_is_logged_kept_and_delivered_and_its_results_live_shortly() {
    let (log, _keep) = dbopt_tests::log::Log::keep();
    let cluster = cluster_with_redis(1).await;
    let (one, other) = (shelf(cached_config(&cluster)).await, shelf(cached_config(&cluster)).await);
    one.set(1, 10).await.unwrap();
    value(&one, 1).await;
    value(&other, 1).await;
    until_stored(&one, 1).await;
    cluster.redis().unwrap().freeze().await.unwrap();
    let began = Instant::now();
    one.set(1, 11).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "the write succeeds: {:?}", began.elapsed());
    let status = one.db.cache().status();
    assert!(status.invalidations_missed == 1 && status.journal > 0, "{status:?}");
    assert!(log.text().contains("an invalidation could not be delivered"), "{}", log.text());
    // What is loaded now is right, and kept for a moment only.
    let loads = one.loads();
    assert_eq!(value(&one, 1).await, 11);
    assert_eq!(one.loads(), loads + 1);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(value(&one, 1).await, 11);
    assert_eq!(one.loads(), loads + 2, "it lived for a second, not for a minute");
    cluster.redis().unwrap().thaw().await.unwrap();
    let delivered = async || one.db.cache().status().journal == 0;
    until("the journal is delivered", Duration::from_secs(10), delivered).await;
    let heard = async || value(&other, 1).await == 11;
    until("the other instance hears of it", Duration::from_secs(2), heard).await;
}

#[tokio::test]
async fn r12_4_what_a_write_returns_is_what_the_next_read_finds() {
    let cluster = cluster_with_redis(1).await;
    let (one, other) = (shelf(cached_config(&cluster)).await, shelf(cached_config(&cluster)).await);
    // A Redis that is new learns with the first load where the log is.
    assert_eq!(one.find(1).await.unwrap(), None);
    one.store(1, 10).await.unwrap();
    assert_eq!((value(&one, 1).await, one.loads()), (10, 1), "no load was needed");
    until_stored(&one, 2).await;
    assert_eq!((value(&other, 1).await, other.loads()), (10, 0), "on the other instance neither");
    one.store(1, 11).await.unwrap();
    assert_eq!((value(&one, 1).await, one.loads()), (11, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_4_of_two_writes_the_older_value_never_stays() {
    let cluster = cluster_with_redis(0).await;
    let (one, other) = (shelf(cached_config(&cluster)).await, shelf(cached_config(&cluster)).await);
    for round in 0..200 {
        let (a, b) = tokio::join!(one.store(1, 2 * round), other.store(1, 2 * round + 1));
        a.unwrap();
        b.unwrap();
        let truth: i64 =
            cluster.primary().query_text("SELECT value::text FROM things").await.unwrap().unwrap().parse().unwrap();
        for shelf in [&one, &other] {
            let agrees = async || value(shelf, 1).await == truth;
            until("the cache says what the database says", Duration::from_secs(1), agrees).await;
        }
    }
    let stored = one.db.cache().status().l2_stored + other.db.cache().status().l2_stored;
    assert!(stored > 0, "some of them were kept");
}

#[tokio::test]
async fn r12_5_a_pattern_reaches_what_it_matches_and_can_be_tried_first() {
    let cluster = cluster_with_redis(0).await;
    let (one, other) = (shelf(cached_config(&cluster)).await, shelf(cached_config(&cluster)).await);
    for id in [1, 2, 10] {
        one.set_silently(id, id).await.unwrap();
        value(&one, id).await;
    }
    one.count().await.unwrap();
    one.named(1).await.unwrap();
    until_stored(&one, 5).await;
    for id in [1, 2, 10] {
        value(&other, id).await;
        one.set_silently(id, id + 100).await.unwrap();
    }
    let cache = one.db.cache();
    assert_eq!(cache.count_pattern("item:1*").await.unwrap(), 2);
    assert_eq!(value(&one, 1).await, 1, "trying changes nothing");
    assert_eq!(cache.invalidate_pattern("item:1*").await.unwrap(), 2);
    assert_eq!((value(&one, 1).await, value(&one, 10).await), (101, 110));
    let heard = async || value(&other, 1).await == 101;
    until("the other instance hears of it", Duration::from_secs(1), heard).await;
    assert_eq!(cache.count_pattern("shelf:*").await.unwrap(), 1, "keys with a name have one");
    assert_eq!(cache.count_pattern("item:[12]").await.unwrap(), 0, "only the star is special");
    assert!(cache.invalidate_pattern(" ").await.unwrap_err().to_string().contains("flight:*"));
}

/// A shelf with item 1 at 10, in Redis too, and a long way to Redis.
async fn distant_shelf(cluster: &Cluster) -> (Shelf, Proxy) {
    let proxy = Proxy::start(([127, 0, 0, 1], cluster.redis().unwrap().port()).into()).await.unwrap();
    let mut config = cached_config(cluster);
    config.cache.redis = format!("redis://127.0.0.1:{}", proxy.port()).as_str().into();
    (config.cache.timeout, config.cache.write_timeout) = (Duration::from_secs(5), Duration::from_secs(5));
    let shelf = shelf(config).await;
    shelf.set(1, 10).await.unwrap();
    assert_eq!((value(&shelf, 1).await, near(&shelf, 1).await), (10, 10));
    until_stored(&shelf, 1).await;
    proxy.delay(Duration::from_millis(150));
    (shelf, proxy)
}

/// An item, kept in memory only: it tells when memory has heard of a write, and asks Redis nothing.
async fn near(shelf: &Shelf, id: i64) -> i64 {
    shelf.near(id).await.unwrap().unwrap().value
}

/// Does something in a task of its own.
fn apart<F>(shelf: &Shelf, work: impl FnOnce(Shelf) -> F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(work(shelf.clone()))
}

/// Once `writing` has made memory forget, and before Redis has answered it, another caller finds the old value there.
async fn overtake<T>(shelf: &Shelf, writing: &JoinHandle<T>) -> JoinHandle<()> {
    until("memory has forgotten", Duration::from_secs(5), async || near(shelf, 1).await == 11).await;
    let (shelf, loads) = (shelf.clone(), shelf.loads());
    let reading = tokio::spawn(async move {
        assert_eq!(value(&shelf, 1).await, 10, "nothing was acknowledged when this call began");
        assert_eq!(shelf.loads(), loads, "Redis had it");
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!writing.is_finished());
    reading
}

/// Redis serves reads and refuses writes.
async fn refuse_writes(cluster: &Cluster) {
    let client = redis::Client::open(cluster.redis().unwrap().url()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("CONFIG").arg(&["SET", "min-replicas-to-write", "1"]).exec_async(&mut redis).await.unwrap();
}

#[tokio::test]
async fn what_redis_served_while_it_refused_an_invalidation_is_not_kept() {
    let cluster = cluster_with_redis(0).await;
    let (shelf, _proxy) = distant_shelf(&cluster).await;
    refuse_writes(&cluster).await;
    let writing = apart(&shelf, |shelf| async move { shelf.set(1, 11).await.unwrap() });
    let reading = overtake(&shelf, &writing).await;
    writing.await.unwrap();
    assert_eq!(value(&shelf, 1).await, 11);
    reading.await.unwrap();
    assert_eq!(value(&shelf, 1).await, 11);
}

#[tokio::test]
async fn nor_where_the_writer_went_away() {
    let cluster = cluster_with_redis(0).await;
    let (shelf, _proxy) = distant_shelf(&cluster).await;
    refuse_writes(&cluster).await;
    let writing = apart(&shelf, |shelf| async move { shelf.set(1, 11).await.unwrap() });
    let reading = overtake(&shelf, &writing).await;
    writing.abort();
    assert!(writing.await.unwrap_err().is_cancelled());
    reading.await.unwrap();
    assert_eq!(value(&shelf, 1).await, 11);
}

#[tokio::test]
async fn nor_what_it_served_while_it_looked_for_what_a_pattern_matches() {
    let cluster = cluster_with_redis(0).await;
    let (shelf, proxy) = distant_shelf(&cluster).await;
    // It asks several times.
    proxy.delay(Duration::from_millis(50));
    shelf.set_silently(1, 11).await.unwrap();
    let invalidating =
        apart(&shelf, |shelf| async move { shelf.db.cache().invalidate_pattern("item:*").await.unwrap() });
    let reading = overtake(&shelf, &invalidating).await;
    invalidating.await.unwrap();
    reading.await.unwrap();
    assert_eq!(value(&shelf, 1).await, 11);
}

#[tokio::test]
async fn nor_what_it_served_while_it_refused_to_be_cleared() {
    let cluster = cluster_with_redis(0).await;
    let (shelf, _proxy) = distant_shelf(&cluster).await;
    refuse_writes(&cluster).await;
    shelf.set_silently(1, 11).await.unwrap();
    let clearing = apart(&shelf, |shelf| async move { shelf.db.cache().clear().await.unwrap_err() });
    let reading = overtake(&shelf, &clearing).await;
    clearing.await.unwrap();
    reading.await.unwrap();
    assert_eq!(value(&shelf, 1).await, 11);
}

#[tokio::test]
async fn what_is_rolled_back_invalidates_nothing_and_what_is_committed_does() {
    let cluster = cluster(0).await;
    let shelf = shelf(config(&cluster)).await;
    for id in 1..=3 {
        shelf.set(id, 10).await.unwrap();
    }
    let value = async |id| shelf.near(id).await.unwrap().unwrap().value;
    for id in 1..=3 {
        value(id).await;
    }
    let failed: Result<(), diesel::result::Error> = shelf
        .db
        .transaction(async |tx| {
            shelf.set_in(tx, 1, 11).await?;
            Err(diesel::result::Error::RollbackTransaction)
        })
        .await;
    assert!(failed.is_err());
    let loads = shelf.loads();
    assert_eq!((value(1).await, shelf.loads()), (10, loads), "nothing was invalidated");
    let done: Result<(), diesel::result::Error> = shelf
        .db
        .transaction(async |tx| {
            use diesel_async::AsyncConnection;
            shelf.set_in(tx, 2, 12).await?;
            assert_eq!(
                shelf.find_in(tx, 2).await?.unwrap().value,
                12,
                "a transaction sees its own writes, not the cache"
            );
            let inner: Result<(), diesel::result::Error> = tx
                .transaction(async |tx| {
                    shelf.set_in(tx, 3, 13).await?;
                    Err(diesel::result::Error::RollbackTransaction)
                })
                .await;
            assert!(inner.is_err());
            Ok(())
        })
        .await;
    done.unwrap();
    let loads = shelf.loads();
    assert_eq!((value(3).await, shelf.loads()), (10, loads), "its savepoint was rolled back");
    assert_eq!((value(2).await, shelf.loads()), (12, loads + 1));
}

#[tokio::test]
async fn a_strong_reader_sees_at_once_what_another_instance_wrote() {
    let cluster = cluster_with_redis(2).await;
    let (one, other) = (shelf(cached_config(&cluster)).await, shelf(cached_config(&cluster)).await);
    let trusted = async || {
        let loads = other.loads();
        other.exact(1).await.unwrap();
        other.loads() == loads
    };
    until("the writers are known to a Redis that is new", Duration::from_secs(5), trusted).await;
    let mut served = 0;
    for round in 0..100 {
        one.set(1, round).await.unwrap();
        for _ in 0..3 {
            let loads = other.loads();
            assert_eq!(other.exact(1).await.unwrap().unwrap().value, round);
            served += u32::from(other.loads() == loads);
        }
    }
    assert!(served > 100, "and is served from the cache where nothing has changed: {served}");
}

#[tokio::test]
async fn a_caller_with_the_token_of_another_instance_sees_its_write() {
    let cluster = cluster_with_redis(1).await;
    let (one, other) = (shelf(cached_config(&cluster)).await, shelf(cached_config(&cluster)).await);
    for round in 0..50 {
        let token = Context::anonymous().scope(async {
            one.set(1, round).await.unwrap();
            Context::token()
        });
        let token = token.await.unwrap();
        let seen = Context::anonymous().with_token(token).scope(async { value(&other, 1).await });
        assert_eq!(seen.await, round);
    }
}

#[tokio::test]
async fn a_frozen_redis_costs_a_moment_and_then_nothing() {
    let cluster = cluster_with_redis(0).await;
    let mut config = cached_config(&cluster);
    config.cache.timeout = Duration::from_millis(20);
    let shelf = shelf(config).await;
    shelf.set(1, 10).await.unwrap();
    value(&shelf, 1).await;
    cluster.redis().unwrap().freeze().await.unwrap();
    let mut slowest_late = Duration::ZERO;
    for id in 100..160 {
        let began = Instant::now();
        shelf.find(id).await.unwrap();
        let took = began.elapsed();
        assert!(took < Duration::from_millis(500), "{took:?}");
        if id >= 130 {
            slowest_late = slowest_late.max(took);
        }
    }
    let status = shelf.db.cache().status();
    assert_eq!(status.redis, "down");
    assert!(status.l2_errors >= 60, "{status:?}");
    cluster.redis().unwrap().thaw().await.unwrap();
    until("Redis is used again", Duration::from_secs(5), async || shelf.db.cache().status().redis == "up").await;
    assert!(slowest_late < Duration::from_millis(200), "{slowest_late:?}");
}

/// Three seconds, or as many as `DBOPT_TEST_FREEZE` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_stands_still_writes_succeed_and_afterwards_nothing_from_before_them_is_served() {
    let seconds = std::env::var("DBOPT_TEST_FREEZE").map_or(3, |text| text.parse().expect("a number of seconds"));
    let cluster = cluster_with_redis(1).await;
    let (one, other) = (shelf(cached_config(&cluster)).await, shelf(cached_config(&cluster)).await);
    for id in 0..20 {
        one.set(id, 0).await.unwrap();
        assert_eq!((value(&one, id).await, value(&other, id).await), (0, 0));
    }
    one.set(100, 0).await.unwrap();
    assert_eq!(near(&one, 100).await, 0);
    cluster.redis().unwrap().freeze().await.unwrap();
    let (began, mut round) = (Instant::now(), 0);
    let (mut hits, mut misses) = (Vec::new(), Vec::new());
    while began.elapsed() < Duration::from_secs(seconds) {
        round += 1;
        for id in 0..20 {
            one.set(id, round).await.unwrap();
            let asked = Instant::now();
            assert_eq!(value(&one, id).await, round);
            misses.push(asked.elapsed());
            for _ in 0..50 {
                let asked = Instant::now();
                assert_eq!(near(&one, 100).await, 0);
                hits.push(asked.elapsed());
            }
        }
    }
    cluster.redis().unwrap().thaw().await.unwrap();
    for id in 0..20 {
        // Redis holds what was before all those writes.
        assert_eq!(other.exact(id).await.unwrap().unwrap().value, round);
        until("the other instance hears of it", Duration::from_secs(5), async || value(&other, id).await == round)
            .await;
        assert_eq!(value(&one, id).await, round);
    }
    let most = |times: &mut Vec<Duration>, percent: usize| {
        times.sort_unstable();
        times[times.len() * percent / 100]
    };
    // Of a hundred loads one may meet a moment in which the machine does something else; waiting for Redis would be most of them.
    let (hit, miss) = (most(&mut hits, 99), most(&mut misses, 90));
    println!("{round} writes of each item; p99 of {} hits {hit:?}, p90 of {} loads {miss:?}", hits.len(), misses.len());
    // Hundreds of times what they take: only waiting for Redis would be longer.
    assert!(hit < Duration::from_millis(20) && miss < Duration::from_millis(200), "{hit:?}, {miss:?}");
}

/// The rows in the outbox.
async fn noted(cluster: &dbopt_diesel::dev::Cluster) -> i64 {
    let count = cluster.primary().query_text("SELECT count(*)::text FROM dbopt_cache_outbox").await.unwrap();
    count.unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_a_killed_process_left_in_the_outbox_is_delivered_by_another() {
    let cluster = cluster_with_redis(1).await;
    let mut config = cached_config(&cluster);
    config.cache.outbox = true;
    config.cache.outbox_age = Duration::from_millis(300);
    let shelf = shelf(config).await;
    shelf.set(1, 10).await.unwrap();
    assert_eq!(value(&shelf, 1).await, 10);
    until("what was delivered is removed", Duration::from_secs(5), async || noted(&cluster).await == 0).await;
    // What a process leaves that is killed right after COMMIT: the new row, its note, and a cache that has not heard.
    let left = "BEGIN; UPDATE things SET value = 11 WHERE id = 1; \
                INSERT INTO dbopt_cache_outbox (tags) VALUES (ARRAY['item:1']); COMMIT";
    cluster.primary().execute(left).await.unwrap();
    until("it is delivered", Duration::from_secs(5), async || value(&shelf, 1).await == 11).await;
    until("and removed", Duration::from_secs(5), async || noted(&cluster).await == 0).await;
}

#[tokio::test]
async fn the_outbox_keeps_what_redis_does_not_take() {
    let cluster = cluster_with_redis(0).await;
    let mut config = cached_config(&cluster);
    config.cache.outbox = true;
    config.cache.outbox_age = Duration::from_millis(100);
    let shelf = shelf(config).await;
    cluster.redis().unwrap().freeze().await.unwrap();
    shelf.set(1, 10).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(noted(&cluster).await, 1, "it was looked at several times, and not lost");
    cluster.redis().unwrap().thaw().await.unwrap();
    until("it is delivered", Duration::from_secs(10), async || noted(&cluster).await == 0).await;
}
