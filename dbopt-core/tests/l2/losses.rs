//! Redis forgets: nothing it may have missed is served afterwards.

use std::time::Duration;

use dbopt_core::cache::l2::{Begun, Event, Outcome};

use super::server::{Instance, SHAPE, Server, TTL, at, eventually, key, tags};

#[tokio::test]
async fn a_flush_begins_a_new_epoch() {
    let server = Server::start(&[]).await;
    let mut one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    one.fill(&key, &tags, b"v").await;
    let fill = one.begin(&key, &tags).await;
    server.run(&["FLUSHALL"]).await;
    assert_eq!(one.look_up(&key, &tags).await, None);
    assert_eq!(one.store(&key, &tags, &fill, b"v").await, Outcome::Fenced);
    one.expect(Event::Cleared).await;
    let begun = one.layer.begin(&key, &tags, TTL, true, None).await.unwrap();
    assert!(matches!(begun, Begun::NeedsPosition(_)), "what tags were invalidated at is forgotten: {begun:?}");
    one.fill(&key, &tags, b"w").await;
    assert!(one.holds(&key, &tags, b"w").await);
}

#[tokio::test]
async fn a_restart_with_old_data_serves_none_of_it() {
    let mut server = Server::start(&["--dbfilename", "old.rdb"]).await;
    let mut one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    one.fill(&key, &tags, b"old").await;
    server.run(&["SAVE"]).await;
    one.layer.invalidate(&tags, Some(at(90)), None).await.unwrap();
    server.restart().await;
    one.expect(Event::Down).await;
    one.expect(Event::Up).await;
    assert_eq!(server.keys("*:v:k").await.len(), 1, "the test must meet old data");
    assert_eq!(one.look_up(&key, &tags).await, None);
    let begun = one.layer.begin(&key, &tags, TTL, true, None).await.unwrap();
    assert!(matches!(begun, Begun::NeedsPosition(_)), "{begun:?}");
}

#[tokio::test]
async fn a_lost_connection_is_replaced_and_said_so() {
    let server = Server::start(&[]).await;
    let (mut one, two) = (Instance::start(server.config()).await, Instance::start(server.config()).await);
    let (key, tags) = (key("k"), tags(&["t"]));
    one.fill(&key, &tags, b"v").await;
    server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    server.run(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    one.expect(Event::Down).await;
    one.expect(Event::Up).await;
    assert!(one.holds(&key, &tags, b"v").await, "the same Redis: its data is as good as before");
    eventually("the other is back too", async || two.layer.is_up()).await;
    two.layer.invalidate(&tags, None, None).await.unwrap();
    one.expect(Event::Invalidated { tags, position: None }).await;
}

#[tokio::test]
async fn forgotten_scripts_are_sent_again() {
    let server = Server::start(&[]).await;
    let one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    one.fill(&key, &tags, b"v").await;
    for _ in 0..2 {
        server.run(&["SCRIPT", "FLUSH"]).await;
        one.layer.invalidate(&tags, None, None).await.unwrap();
        server.run(&["SCRIPT", "FLUSH"]).await;
        one.fill(&key, &tags, b"v").await;
    }
    assert!(one.holds(&key, &tags, b"v").await);
}

#[tokio::test]
async fn a_writer_that_dies_with_its_invalidation_leaves_no_strong_hit_behind() {
    let server = Server::start(&[]).await;
    let mut config = server.config();
    config.strong = true;
    let reader = Instance::start(config.clone()).await;
    let writer = Instance::start(config).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    super::leases::trusted(&reader, &key, &tags).await;
    // Its process ends between COMMIT and the invalidation.
    drop(writer);
    let strong = async || reader.layer.look_up(&key, &tags, SHAPE, true).await.unwrap();
    eventually("the silent writer is noticed", async || strong().await.is_none()).await;
    assert!(reader.holds(&key, &tags, b"v").await, "whoever does not ask for strong consistency still has it");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(strong().await.is_none());
}

#[tokio::test]
async fn a_redis_that_became_a_replica_is_left_and_not_used() {
    let server = Server::start(&[]).await;
    let mut one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    one.fill(&key, &tags, b"v").await;
    server.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    assert!(one.layer.invalidate(&tags, None, None).await.is_err());
    one.expect(Event::Down).await;
    let two = Instance::unconnected(server.config());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!one.layer.is_up() && !two.layer.is_up(), "a replica may lag behind an invalidation");
    server.run(&["REPLICAOF", "NO", "ONE"]).await;
    one.expect(Event::Up).await;
    eventually("the invalidation is delivered", async || one.layer.journal_len() == 0).await;
    assert_eq!(one.look_up(&key, &tags).await, None);
}
