//! Races between fills, invalidations and what each must have seen.

use dbopt_core::cache::l2::{Begun, Outcome};
use dbopt_core::cache::pattern::Pattern;

use super::server::{Instance, SHAPE, Server, TTL, at, eventually, key, tags};

#[tokio::test]
async fn a_fill_that_began_before_an_invalidation_is_not_stored() {
    let server = Server::start(&[]).await;
    let (one, two) = (Instance::start(server.config()).await, Instance::start(server.config()).await);
    let (key, some) = (key("k"), tags(&["a", "b"]));
    let fill = one.begin(&key, &some).await;
    two.layer.invalidate(&tags(&["b"]), Some(at(7)), None).await.unwrap();
    assert_eq!(one.store(&key, &some, &fill, b"old").await, Outcome::Fenced);
    assert_eq!(one.look_up(&key, &some).await, None);
    let fill = one.begin(&key, &some).await;
    assert_eq!(fill.required, Some(at(7)));
    assert!(fill.leader, "a fenced fill gives its lease back");
    assert_eq!(one.store(&key, &some, &fill, b"new").await, Outcome::Kept);
    assert!(two.holds(&key, &some, b"new").await);
}

#[tokio::test]
async fn an_invalidation_makes_what_is_stored_a_miss_for_everyone() {
    let server = Server::start(&[]).await;
    let (one, two) = (Instance::start(server.config()).await, Instance::start(server.config()).await);
    let (key, some) = (key("k"), tags(&["a", "b"]));
    one.fill(&key, &some, b"v").await;
    let before = two.look_up(&key, &some).await.unwrap();
    one.layer.invalidate(&tags(&["a"]), None, None).await.unwrap();
    assert_eq!((one.look_up(&key, &some).await, two.look_up(&key, &some).await), (None, None));
    assert!(!two.layer.check(&some, &before.generations).await.unwrap());
    assert_eq!(two.layer.counts().outdated, 1);
}

#[tokio::test]
async fn a_missing_generation_is_a_miss_and_fences_fills_under_way() {
    let server = Server::start(&[]).await;
    let one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    one.fill(&key, &tags, b"v").await;
    let fill = one.begin(&key, &tags).await;
    server.run(&["DEL", "dbopt:{default}:g:t"]).await;
    assert_eq!(one.look_up(&key, &tags).await, None);
    assert_eq!(one.store(&key, &tags, &fill, b"v").await, Outcome::Fenced);
    one.begin(&key, &tags).await;
    assert_eq!(one.look_up(&key, &tags).await, None, "the new generation is not the old one");
}

#[tokio::test]
async fn a_new_epoch_makes_everything_a_miss_and_fences_fills_under_way() {
    let server = Server::start(&[]).await;
    let (one, two) = (Instance::start(server.config()).await, Instance::start(server.config()).await);
    let (key, tags) = (key("k"), tags(&["t"]));
    one.fill(&key, &tags, b"v").await;
    let other = super::server::key("other");
    let fill = one.begin(&other, &tags).await;
    two.layer.clear(Some(at(50))).await.unwrap();
    assert_eq!(one.look_up(&key, &tags).await, None);
    assert_eq!(one.store(&other, &tags, &fill, b"v").await, Outcome::Fenced);
    assert_eq!(one.begin(&key, &tags).await.required, Some(at(50)), "fills must have seen what the clear was for");
}

#[tokio::test]
async fn generations_and_required_positions_only_grow() {
    let server = Server::start(&[]).await;
    let one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    one.begin(&key, &tags).await;
    let far = "9000000000000000";
    server.run(&["SET", "dbopt:{default}:g:t", far]).await;
    for (position, required) in [(Some(at(9)), at(9)), (Some(at(4)), at(9)), (None, at(9))] {
        let before = one.begin(&key, &tags).await.ticket;
        one.layer.invalidate(&tags, position, None).await.unwrap();
        let fill = one.begin(&key, &tags).await;
        assert_ne!(fill.ticket.generations(), before.generations());
        assert_eq!(fill.required, Some(required));
    }
    let held: String = redis::from_redis_value(server.run(&["GET", "dbopt:{default}:g:t"]).await).unwrap();
    assert!(held.starts_with("9000000000000003 "), "counts on although Redis' clock is behind: {held}");
}

#[tokio::test]
async fn generations_outlive_the_values_they_guard() {
    let server = Server::start(&[]).await;
    let one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    one.begin(&key, &tags).await;
    let life = async || redis::from_redis_value::<i64>(server.run(&["TTL", "dbopt:{default}:g:t"]).await).unwrap();
    assert!(life().await >= 600);
    server.run(&["EXPIRE", "dbopt:{default}:g:t", "5"]).await;
    one.begin(&key, &tags).await;
    assert!(life().await >= 600, "extended by the next fill");
    server.run(&["EXPIRE", "dbopt:{default}:g:t", "5"]).await;
    one.layer.invalidate(&tags, None, None).await.unwrap();
    assert!(life().await >= 600 - 1, "extended by an invalidation");
}

#[tokio::test]
async fn a_write_through_is_told_whether_it_was_alone_and_stores_only_if_nothing_moves() {
    let server = Server::start(&[]).await;
    let one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    one.begin(&key, &tags).await;
    let invalidate =
        async |position, lower| one.layer.invalidate(&tags, Some(at(position)), Some(at(lower))).await.unwrap();
    let first = invalidate(10, 5).await;
    assert!(first.alone);
    let outcome = one.layer.store(&key, &tags, &first.ticket, SHAPE, b"ten", Some(at(10)), TTL).await.unwrap();
    assert_eq!(outcome, Outcome::Kept);
    assert!(one.holds(&key, &tags, b"ten").await);
    assert!(!invalidate(12, 8).await.alone, "10 lies beyond 8");
    assert!(invalidate(14, 12).await.alone);
    let outcome = one.layer.store(&key, &tags, &first.ticket, SHAPE, b"ten", None, TTL).await.unwrap();
    assert_eq!(outcome, Outcome::Fenced);
    one.layer.invalidate(&tags, None, None).await.unwrap();
    assert!(!invalidate(16, 14).await.alone, "an invalidation at an unknown position may lie beyond anything");
}

#[tokio::test]
async fn a_new_epoch_asks_for_the_primarys_position_before_the_first_fill() {
    let server = Server::start(&[]).await;
    let one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    let begin = async |fresh| one.layer.begin(&key, &tags, TTL, true, fresh).await.unwrap();
    let Begun::NeedsPosition(proof) = begin(None).await else { panic!("a floor from nowhere") };
    assert!(server.keys("*:g:*").await.is_empty() && server.keys("*:f:*").await.is_empty());
    let Begun::Ready(fill) = begin(Some((&proof, at(30)))).await else { panic!("asked again") };
    assert_eq!(fill.required, Some(at(30)));
    // From an earlier epoch the proof is worth nothing.
    server.run(&["SET", "dbopt:{default}:epoch", "00000000000000aa 0 -"]).await;
    assert!(matches!(begin(Some((&proof, at(30)))).await, Begun::NeedsPosition(_)));
}

/// The policy may be changed while it runs; what it was when the connection was opened says nothing about now.
#[tokio::test]
async fn a_redis_that_has_ever_evicted_is_not_believed_to_know_all() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]).await;
    let one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    one.begin(&key, &tags).await;
    one.layer.invalidate(&tags, Some(at(20)), None).await.unwrap();
    // Only what expires is evicted: the generation, not the epoch.
    server.run(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru", "maxmemory", "1"]).await;
    eventually("it is evicted", async || server.run(&["EXISTS", "dbopt:{default}:g:t"]).await == redis::Value::Int(0)).await;
    server.run(&["CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction"]).await;
    let begun = one.layer.begin(&key, &tags, TTL, false, None).await.unwrap();
    assert!(matches!(begun, Begun::NeedsPosition(_)), "it has forgotten 20: {begun:?}");
}

#[tokio::test]
async fn when_redis_evicts_a_missing_generation_asks_for_the_primarys_position() {
    let server = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    let begin = async |fresh| one.layer.begin(&key, &tags, TTL, false, fresh).await.unwrap();
    let Begun::NeedsPosition(proof) = begin(None).await else { panic!("ready") };
    one.begin_at(&key, &tags, &proof, at(10)).await;
    one.layer.invalidate(&tags, Some(at(20)), None).await.unwrap();
    server.run(&["DEL", "dbopt:{default}:g:t"]).await;
    let Begun::NeedsPosition(proof) = begin(None).await else { panic!("ready without knowing of 20") };
    let Begun::Ready(fill) = begin(Some((&proof, at(25)))).await else { panic!("asked again") };
    assert_eq!(fill.required, Some(at(25)));
}

#[tokio::test]
async fn a_pattern_fences_fills_under_way_and_raises_what_they_must_have_seen() {
    let server = Server::start(&[]).await;
    let one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    let fill = one.begin(&key, &tags).await;
    one.layer.invalidate_pattern(&Pattern::new("k*"), Some(at(70)), false).await.unwrap();
    assert_eq!(one.store(&key, &tags, &fill, b"old").await, Outcome::Fenced);
    assert_eq!(one.begin(&key, &tags).await.required, Some(at(70)));
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_never_see_less_than_the_last_acknowledged_write() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    let server = Server::start(&[]).await;
    let (database, acknowledged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let one = Instance::start(server.config()).await;
        let (database, acknowledged) = (database.clone(), acknowledged.clone());
        tasks.spawn(async move {
            let (key, tags) = (key("k"), tags(&["t"]));
            for _ in 0..300 {
                if number == 0 {
                    let written = database.fetch_add(1, SeqCst) + 1;
                    one.layer.invalidate(&tags, Some(at(written)), None).await.unwrap();
                    acknowledged.store(written, SeqCst);
                }
                let least = acknowledged.load(SeqCst);
                if let Some(found) = one.look_up(&key, &tags).await {
                    let seen = u64::from_le_bytes(found.payload.try_into().unwrap());
                    assert!(seen >= least, "saw {seen} after {least} was acknowledged");
                } else {
                    let fill = one.begin(&key, &tags).await;
                    let read = database.load(SeqCst);
                    tokio::task::yield_now().await;
                    one.store(&key, &tags, &fill, &read.to_le_bytes()).await;
                }
            }
            one.layer.counts().hits
        });
    }
    let hits: u64 = tasks.join_all().await.into_iter().sum();
    assert!(hits > 0, "the test must meet the cache");
}
