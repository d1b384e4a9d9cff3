//! Strong consistency: what readers believe when a writer cannot reach Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use dbopt_core::cache::l2::{Begun, Config, Event, Key, Standing};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::server::{Detour, Instance, SHAPE, Server, TTL, eventually, key, tags};

fn strong(server: &Server) -> Config {
    let mut config = server.config();
    config.strong = true;
    config.forget_after = Duration::from_secs(60);
    config.settle = Duration::from_millis(1);
    config
}

/// Fills until strong look-ups hit: Redis was new and its unknown writers must be forgotten first.
pub async fn trusted(one: &Instance, key: &Key, tags: &[String]) {
    eventually("strong look-ups are trusted", async || {
        if one.look_up(key, tags).await.is_none() {
            let fill = one.begin(key, tags).await;
            one.store(key, tags, &fill, b"v").await;
        }
        one.layer.look_up(key, tags, SHAPE, true).await.unwrap().is_some()
    })
    .await;
}

/// The first to come decides for how long a new Redis is distrusted; the other counts on not being forgotten so soon.
async fn reader_and_writer(server: &Server) -> (Instance, Instance) {
    let reader = Instance::start(strong(server)).await;
    let mut config = strong(server);
    config.settle = config.forget_after;
    let writer = Instance::start(config).await;
    registered(&writer).await;
    (reader, writer)
}

pub async fn registered(one: &Instance) {
    eventually("the writer is registered", async || one.layer.standing() == Standing::Registered).await;
}

#[tokio::test]
async fn strong_readers_distrust_a_writer_that_fell_silent_until_it_has_delivered() {
    let server = Server::start(&[]).await;
    let (reader, writer) = reader_and_writer(&server).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    trusted(&reader, &key, &tags).await;
    let found = reader.look_up(&key, &tags).await.unwrap();
    assert!(reader.layer.check(&tags, &found.generations).await.unwrap());

    let until = writer.layer.silence().unwrap();
    assert_eq!(writer.layer.standing(), Standing::Silent(until));
    assert!(until <= Instant::now() + Duration::from_millis(700), "a write must not wait for long");
    sleep_until(until).await;
    assert_eq!(reader.layer.look_up(&key, &tags, SHAPE, true).await.unwrap(), None);
    assert!(!reader.layer.check(&tags, &found.generations).await.unwrap());
    assert!(reader.layer.counts().distrusted >= 2);
    assert!(reader.holds(&key, &tags, b"v").await);

    writer.layer.resume();
    let strong = async || reader.layer.look_up(&key, &tags, SHAPE, true).await.unwrap();
    eventually("trust comes back", async || strong().await.is_some()).await;
}

#[tokio::test]
async fn a_writer_that_leaves_in_order_is_missed_by_nobody() {
    let server = Server::start(&[]).await;
    let (reader, writer) = (Instance::start(strong(&server)).await, Instance::start(strong(&server)).await);
    let (key, tags) = (key("k"), tags(&["t"]));
    trusted(&reader, &key, &tags).await;
    assert_eq!(writer.layer.shutdown(Instant::now() + Duration::from_secs(1)).await, 0);
    let members = server.run(&["ZCARD", "dbopt:{default}:writers"]).await;
    assert_eq!(redis::from_redis_value::<u64>(members).unwrap(), 2, "the reader and the set's own mark");
}

#[tokio::test]
async fn a_writer_that_is_gone_for_long_is_forgotten_with_everything_cached() {
    let server = Server::start(&[]).await;
    let mut config = strong(&server);
    (config.forget_after, config.settle) = (Duration::from_millis(300), Duration::ZERO);
    let mut reader = Instance::start(config.clone()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    trusted(&reader, &key, &tags).await;
    let writer = Instance::start(config).await;
    eventually("the writer is in the set", async || {
        let members = server.run(&["ZCARD", "dbopt:{default}:writers"]).await;
        redis::from_redis_value::<u64>(members).unwrap() == 3
    })
    .await;
    while reader.events.try_recv().is_ok() {}
    drop(writer);
    eventually("the reader distrusts it", async || {
        reader.layer.look_up(&key, &tags, SHAPE, true).await.unwrap().is_none()
    })
    .await;
    eventually("it is forgotten", async || {
        reader.layer.look_up(&key, &tags, SHAPE, true).await.unwrap();
        reader.layer.counts().forgotten >= 2
    })
    .await;
    reader.expect(Event::Cleared).await;
    assert_eq!(reader.look_up(&key, &tags).await, None, "what it may have missed is gone too");
    trusted(&reader, &key, &tags).await;
}

#[tokio::test]
async fn a_redis_that_lost_its_writers_is_not_believed() {
    let server = Server::start(&[]).await;
    let mut config = strong(&server);
    (config.forget_after, config.settle) = (Duration::from_secs(60), Duration::from_secs(60));
    let reader = Instance::start(config).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    reader.fill(&key, &tags, b"v").await;
    assert!(reader.holds(&key, &tags, b"v").await);
    assert_eq!(reader.layer.look_up(&key, &tags, SHAPE, true).await.unwrap(), None, "it may have known a writer");
    server.run(&["DEL", "dbopt:{default}:writers"]).await;
    assert_eq!(reader.layer.look_up(&key, &tags, SHAPE, true).await.unwrap(), None);
    eventually("the loss is marked", async || server.keys("*:writers").await.len() == 1).await;
    assert_eq!(reader.look_up(&key, &tags).await, None, "under a new epoch");
}

#[tokio::test]
async fn a_renewal_delayed_by_a_frozen_redis_brings_nobody_back() {
    let server = Server::start(&[]).await;
    let (reader, writer) = reader_and_writer(&server).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    trusted(&reader, &key, &tags).await;
    server.freeze();
    // Renewals are on their way to a Redis that does not run.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let until = writer.layer.silence().unwrap();
    // Early enough for the last renewals to be executed in time: they must not count from then.
    sleep_until(until - Duration::from_millis(180)).await;
    server.thaw();
    sleep_until(until).await;
    eventually("Redis answers again", async || {
        let answer = reader.layer.look_up(&key, &tags, SHAPE, true).await;
        assert!(!matches!(answer, Ok(Some(_))));
        answer.is_ok()
    })
    .await;
    for _ in 0..150 {
        assert!(!matches!(reader.layer.look_up(&key, &tags, SHAPE, true).await, Ok(Some(_))));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strong_reads_never_see_less_than_the_last_acknowledged_write_whatever_is_held_up() {
    let server = Server::start(&[]).await;
    let mut config = strong(&server);
    (config.timeout, config.write_timeout) = (Duration::from_millis(50), Duration::from_millis(50));
    config.writer_lease = Duration::from_millis(200);
    let reader = Arc::new(Instance::start(config.clone()).await);
    config.settle = config.forget_after;
    let detour = Detour::to(&server).await;
    config.url.clone_from(&detour.url);
    let writer = Instance::start(config).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    registered(&writer).await;
    trusted(&reader, &key, &tags).await;
    writer.layer.invalidate(&tags, None, None).await.unwrap();
    let (database, acknowledged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let (reader, database, acknowledged) = (reader.clone(), database.clone(), acknowledged.clone());
        let (key, tags) = (key.clone(), tags.clone());
        tasks.spawn(async move {
            let mut hits = 0u64;
            loop {
                let least = acknowledged.load(SeqCst);
                if least == u64::MAX {
                    return hits;
                }
                let found = reader.layer.look_up(&key, &tags, SHAPE, true).await;
                if let Ok(Some(found)) = found {
                    let seen = u64::from_le_bytes(found.payload.try_into().unwrap());
                    assert!(seen >= least, "saw {seen} after {least} was acknowledged");
                    hits += 1;
                } else if let Ok(Begun::Ready(fill)) = reader.layer.begin(&key, &tags, TTL, false, None).await {
                    let read = database.load(SeqCst).to_le_bytes();
                    tokio::task::yield_now().await;
                    let _ = reader.layer.store(&key, &tags, &fill.ticket, SHAPE, &read, None, TTL).await;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    let mut missed = 0;
    for round in 0..40u64 {
        // Now and then Redis freezes, or only the writer is cut off, for shorter or longer than a lease.
        let (frozen, cut_off) = (round % 8 == 7, round % 8 == 3);
        if frozen {
            server.freeze();
        }
        detour.hold_up(cut_off);
        let written = database.fetch_add(1, SeqCst) + 1;
        if let Err(error) = writer.layer.invalidate(&tags, None, None).await {
            missed += 1;
            sleep_until(error.silenced_by.unwrap()).await;
        }
        acknowledged.store(written, SeqCst);
        if frozen || cut_off {
            tokio::time::sleep(Duration::from_millis(round * 5)).await;
            server.thaw();
            detour.hold_up(false);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eventually("everything is delivered", async || writer.layer.journal_len() == 0).await;
    acknowledged.store(u64::MAX, SeqCst);
    let hits: u64 = tasks.join_all().await.into_iter().sum();
    assert!(
        hits > 100 && missed > 0,
        "the test must meet the cache and miss invalidations: {hits} hits, {missed} missed"
    );
}
