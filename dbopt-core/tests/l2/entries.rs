//! What is stored comes back, and nothing else does.

use std::time::Duration;

use dbopt_core::cache::l2::{Begun, Config, Error, Event, Key, Layer, Outcome, decode, encode};
use dbopt_core::cache::shape::fingerprint;
use serde::{Deserialize, Serialize};

use super::server::{Instance, SHAPE, Server, TTL, at, eventually, key, tags};

#[tokio::test]
async fn a_value_comes_back_on_another_instance_with_what_is_known_of_it() {
    let server = Server::start(&[]).await;
    let (one, two) = (Instance::start(server.config()).await, Instance::start(server.config()).await);
    let (key, tags) = (Key::hashed("Flights::board", 7, b"args"), tags(&["flight:1", "airport"]));
    assert_eq!(one.look_up(&key, &tags).await, None);
    let fill = one.begin(&key, &tags).await;
    let outcome = one.layer.store(&key, &tags, &fill.ticket, SHAPE, b"value", Some(at(9)), TTL).await.unwrap();
    assert_eq!(outcome, Outcome::Kept);
    let stored = two.look_up(&key, &tags).await.unwrap();
    assert_eq!((stored.payload.as_slice(), stored.position), (&b"value"[..], Some(at(9))));
    assert_eq!(&stored.generations, fill.ticket.generations());
    assert!(stored.remaining <= TTL && stored.remaining > TTL / 2, "{:?}", stored.remaining);
    assert_eq!(one.layer.entries_of("Flights::board", 10).await.unwrap(), [key.name()]);
    assert_eq!(one.layer.entries_of("Flights", 10).await.unwrap(), Vec::<String>::new());
    let usage = one.layer.usage().await.unwrap();
    assert_eq!((usage.values, usage.generations), (1, 2));
    assert!(usage.server_memory > 0);
}

#[tokio::test]
async fn another_shape_other_tags_another_key_under_one_hash_and_damage_are_misses() {
    let server = Server::start(&[]).await;
    let one = Instance::start(server.config()).await;
    let (this, that, some) = (Key::hashed("m", 7, b"this"), Key::hashed("m", 7, b"that"), tags(&["a", "b"]));
    one.fill(&this, &some, b"value").await;
    assert_eq!(one.layer.look_up(&this, &some, SHAPE + 1, false).await.unwrap(), None);
    assert_eq!(one.look_up(&this, &tags(&["b", "a"])).await, None);
    assert_eq!(one.look_up(&this, &tags(&["a"])).await, None);
    assert_eq!(one.look_up(&that, &some).await, None);
    assert_eq!((one.layer.counts().collisions, one.layer.counts().unreadable), (1, 3));
    assert!(one.holds(&this, &some, b"value").await);
    server.run(&["SETRANGE", "dbopt:{default}:g:a", "0", "x"]).await;
    assert_eq!(one.look_up(&this, &some).await, None, "a generation that cannot be read");
    let name = format!("dbopt:{{default}}:v:{}", this.name());
    server.run(&["SET", &name, "nonsense"]).await;
    assert_eq!(one.look_up(&this, &some).await, None);
    server.run(&["DEL", &name]).await;
    server.run(&["LPUSH", &name, "a list"]).await;
    assert_eq!(one.look_up(&this, &some).await, None);
}

#[tokio::test]
async fn entries_expire() {
    let server = Server::start(&[]).await;
    let one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    let fill = one.begin(&key, &tags).await;
    let short = Duration::from_millis(80);
    one.layer.store(&key, &tags, &fill.ticket, SHAPE, b"v", None, short).await.unwrap();
    eventually("the entry is gone", async || one.look_up(&key, &tags).await.is_none()).await;
    eventually("Redis dropped it too", async || server.keys("*:v:*").await.is_empty()).await;
}

#[tokio::test]
async fn large_values_are_refused_and_compressible_ones_made_small() {
    let server = Server::start(&[]).await;
    let mut config = server.config();
    (config.max_value_bytes, config.compress_above) = (10_000, Some(100));
    let one = Instance::start(config).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    let fill = one.begin(&key, &tags).await;
    assert_eq!(one.store(&key, &tags, &fill, &[1; 10_001]).await, Outcome::TooLarge);
    assert_eq!(one.layer.counts().too_large, 1);
    assert!(one.begin(&key, &tags).await.leader, "the lease was given back");
    let payload = vec![7; 10_000];
    let fill = one.begin(&key, &tags).await;
    assert_eq!(one.store(&key, &tags, &fill, &payload).await, Outcome::Kept);
    assert!(one.holds(&key, &tags, &payload).await);
    let length = server.run(&["STRLEN", "dbopt:{default}:v:k"]).await;
    assert!(redis::from_redis_value::<u64>(length).unwrap() < 500);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Inner {
    more: Vec<(u8, String)>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Full {
    id: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    absent: Option<String>,
    #[serde(flatten)]
    inner: Inner,
    json: serde_json::Value,
    nothing: (),
}

#[test]
fn payloads_of_all_kinds_round_trip_and_foreign_ones_are_misses() {
    let inner = Inner { more: vec![(1, "ä".to_owned())] };
    let json = serde_json::json!({"a": [1, null, 2.5, {"b": "c"}], "big": u64::MAX});
    let full = Full { id: -1, absent: None, inner, json, nothing: () };
    assert_eq!(decode::<Full>(&encode(&full).unwrap()), Some(full));
    assert_eq!(decode::<Vec<Option<i64>>>(&encode(&[Some(1), None]).unwrap()), Some(vec![Some(1), None]));
    assert_eq!(decode::<Full>(&encode(&1).unwrap()), None);
    assert_eq!(decode::<String>(&[0xd9]), None);
    assert_ne!(fingerprint::<Full>(), fingerprint::<Inner>());
}

#[tokio::test]
async fn namespaces_do_not_see_each_other() {
    let server = Server::start(&[]).await;
    let mut config = server.config();
    config.namespace = "other".to_owned();
    let (one, other) = (Instance::start(server.config()).await, Instance::start(config).await);
    let (key, tags) = (key("k"), tags(&["t"]));
    one.fill(&key, &tags, b"one").await;
    other.fill(&key, &tags, b"other").await;
    other.layer.invalidate(&tags, None, None).await.unwrap();
    assert!(one.holds(&key, &tags, b"one").await);
    one.layer.clear(None).await.unwrap();
    assert!(server.keys("dbopt:{default}:v:*").await.is_empty());
    assert_eq!(server.keys("dbopt:{other}:v:*").await.len(), 1);
}

#[tokio::test]
async fn one_instance_leads_a_fill_and_the_others_wait_for_it() {
    let server = Server::start(&[]).await;
    let (one, two) = (Instance::start(server.config()).await, Instance::start(server.config()).await);
    let (key, tags) = (key("k"), tags(&["t"]));
    let first = one.begin(&key, &tags).await;
    let second = two.begin(&key, &tags).await;
    assert!(first.leader && !second.leader);
    two.layer.abandon(&key, &second.ticket).await;
    assert!(!two.begin(&key, &tags).await.leader, "a follower cannot give the leader's lease back");
    let patience = Duration::from_secs(5);
    let waiting = two.layer.wait_filled(&key, &tags, SHAPE, false, patience);
    let (found, kept) = tokio::join!(waiting, one.store(&key, &tags, &first, b"v"));
    assert_eq!((found.unwrap().unwrap().payload.as_slice(), kept), (&b"v"[..], Outcome::Kept));
    // One that gives up ends the wait at once, and one that takes too long ends it too.
    let third = one.begin(&key, &tags).await;
    assert!(third.leader);
    server.run(&["DEL", "dbopt:{default}:v:k"]).await;
    let short = Duration::from_millis(60);
    assert_eq!(two.layer.wait_filled(&key, &tags, SHAPE, false, short).await.unwrap(), None);
    one.layer.abandon(&key, &third.ticket).await;
    assert_eq!(two.layer.wait_filled(&key, &tags, SHAPE, false, patience).await.unwrap(), None);
    assert!(two.begin(&key, &tags).await.leader);
}

#[tokio::test]
async fn instances_hear_of_each_others_invalidations_and_not_of_their_own() {
    let server = Server::start(&[]).await;
    let (mut one, mut two) = (Instance::start(server.config()).await, Instance::start(server.config()).await);
    let tags = tags(&["t", "u"]);
    one.layer.invalidate(&tags, Some(at(5)), None).await.unwrap();
    two.expect(Event::Invalidated { tags, position: Some(at(5)) }).await;
    two.layer.clear(None).await.unwrap();
    one.expect(Event::Cleared).await;
    assert!(two.events.try_recv().is_err());
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_and_the_url_is_shown_nowhere() {
    let mut config = Config::default();
    config.url = "redis://user:secret@host:notaport".to_owned();
    assert!(!format!("{config:?}").contains("secret"));
    let error = Layer::new(config).err().unwrap();
    assert!(matches!(error, Error::Config(_)) && !format!("{error} {error:?}").contains("secret"));
    let mut config = Config::default();
    config.namespace = "a}b".to_owned();
    assert!(matches!(Layer::new(config), Err(Error::Config(_))));
}

#[tokio::test]
async fn without_redis_everything_is_down_at_once() {
    let mut config = Config::default();
    config.url = "redis://127.0.0.1:1".to_owned();
    let one = Instance::unconnected(config);
    let (key, tags) = (key("k"), tags(&["t"]));
    assert_eq!(one.layer.look_up(&key, &tags, SHAPE, false).await, Err(Error::Down));
    let begun: Result<Begun, _> = one.layer.begin(&key, &tags, TTL, false, None).await;
    assert_eq!(begun, Err(Error::Down));
    assert_eq!(one.layer.invalidate(&tags, None, None).await.unwrap_err().cause, Error::Down);
    assert!(!one.layer.is_up());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_look_ups_at_once_are_gathered_and_each_gets_its_own_answer() {
    let server = Server::start(&[]).await;
    let one = std::sync::Arc::new(Instance::start(server.config()).await);
    for number in 0..50u8 {
        one.fill(&key(&format!("k{number}")), &tags(&[&format!("t{number}")]), &[number; 300]).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..300u16 {
        let one = one.clone();
        tasks.spawn(async move {
            for round in 0..200u16 {
                // One in ten has no entry.
                let number = (task * 7 + round) % 55;
                let found = one.look_up(&key(&format!("k{number}")), &tags(&[&format!("t{number}")])).await;
                assert_eq!(found.map(|stored| stored.payload), (number < 50).then(|| vec![number as u8; 300]));
            }
        });
    }
    tasks.join_all().await;
    let counts = one.layer.counts();
    assert_eq!((counts.hits + counts.absent, counts.connects), (60_000, 1));
    assert!(counts.batches * 4 < 60_000, "{} commands for 60000 look-ups", counts.batches);
}
