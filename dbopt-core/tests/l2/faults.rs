//! Redis is slow, frozen, full or refuses writes: budgets hold, and nothing is lost.

use std::time::Duration;

use dbopt_core::cache::l2::{Error, Event, Standing};
use dbopt_core::cache::pattern::Pattern;
use tokio::time::{Instant, timeout};

use super::server::{Instance, SHAPE, Server, at, eventually, key, tags};

#[tokio::test]
async fn a_frozen_redis_costs_the_budget_a_few_times_and_then_nothing() {
    let server = Server::start(&[]).await;
    let mut config = server.config();
    config.timeout = Duration::from_millis(5);
    let mut one = Instance::start(config).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    server.freeze();
    let mut waits = Vec::new();
    for _ in 0..50 {
        let begin = Instant::now();
        let answer = one.layer.look_up(&key, &tags, SHAPE, false).await;
        waits.push((begin.elapsed(), answer.unwrap_err()));
    }
    let asked = waits.iter().filter(|(_, error)| *error == Error::TimedOut).count();
    assert!((1..=5).contains(&asked), "{asked} look-ups waited for a frozen Redis");
    let slowest = waits.iter().filter(|(_, error)| *error == Error::Refused).map(|(wait, _)| *wait).max().unwrap();
    assert!(slowest < Duration::from_millis(3), "a refusal took {slowest:?}");
    one.expect(Event::Down).await;
    server.thaw();
    one.expect(Event::Up).await;
    one.look_up(&key, &tags).await;
}

#[tokio::test]
async fn an_invalidation_missed_by_a_frozen_redis_is_never_undone() {
    let server = Server::start(&[]).await;
    let mut config = server.config();
    config.write_timeout = Duration::from_millis(50);
    config.strong = true;
    let reader = Instance::start(config.clone()).await;
    config.settle = Duration::from_secs(30);
    let writer = Instance::start(config).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    super::leases::registered(&writer).await;
    super::leases::trusted(&reader, &key, &tags).await;
    server.freeze();
    let missed = writer.layer.invalidate(&tags, Some(at(40)), None).await.unwrap_err();
    assert_eq!(missed.cause, Error::TimedOut);
    assert!(writer.layer.holds(&tags));
    writer.layer.resume();
    assert!(matches!(writer.layer.standing(), Standing::Silent(_)), "nobody vouches for what is not delivered");
    tokio::time::sleep_until(missed.silenced_by.unwrap()).await;
    // The write is acknowledged now.
    server.thaw();
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline && writer.layer.journal_len() > 0 {
        assert!(!matches!(reader.layer.look_up(&key, &tags, SHAPE, true).await, Ok(Some(_))), "a stale strong read");
        assert!(!matches!(writer.layer.look_up(&key, &tags, SHAPE, false).await, Ok(Some(_))), "its own write unseen");
    }
    assert_eq!(writer.layer.journal_len(), 0);
    eventually("all see it", async || matches!(reader.layer.look_up(&key, &tags, SHAPE, false).await, Ok(None))).await;
    eventually("fills go on", async || reader.layer.is_up()).await;
    assert_eq!(reader.begin(&key, &tags).await.required, Some(at(40)));
    super::leases::trusted(&reader, &key, &tags).await;
}

#[tokio::test]
async fn a_dropped_invalidation_is_delivered_all_the_same() {
    let server = Server::start(&[]).await;
    let one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    one.fill(&key, &tags, b"v").await;
    server.freeze();
    let cut = timeout(Duration::from_millis(5), one.layer.invalidate(&tags, Some(at(3)), None)).await;
    assert!(cut.is_err() && one.layer.holds(&tags));
    server.thaw();
    eventually("it is delivered", async || one.layer.journal_len() == 0).await;
    assert_eq!(one.look_up(&key, &tags).await, None);
}

#[tokio::test]
async fn invalidations_while_redis_is_away_are_delivered_when_it_is_back() {
    let mut server = Server::start(&[]).await;
    let mut one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    one.fill(&key, &tags, b"v").await;
    server.stop();
    one.expect(Event::Down).await;
    assert!(one.layer.invalidate(&tags, Some(at(60)), None).await.is_err());
    assert!(one.layer.invalidate_pattern(&Pattern::new("x*"), Some(at(61)), false).await.is_err());
    assert!(one.layer.holds(&super::server::tags(&["anything"])), "a pattern that failed holds everything");
    server.restart().await;
    eventually("the journal is empty", async || one.layer.journal_len() == 0).await;
    one.fill(&key, &tags, b"w").await;
    assert!(one.holds(&key, &tags, b"w").await);
}

#[tokio::test]
async fn a_full_redis_stores_nothing_but_takes_invalidations() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]).await;
    let one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    one.fill(&key, &tags, b"v").await;
    let fill = one.begin(&key, &tags).await;
    server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = one.layer.store(&key, &tags, &fill.ticket, SHAPE, b"w", None, super::server::TTL).await;
    assert!(matches!(&refused, Err(Error::Server(text)) if text.contains("OOM")), "{refused:?}");
    assert!(one.holds(&key, &tags, b"v").await, "what is there is served");
    one.layer.invalidate(&tags, None, None).await.unwrap();
    assert_eq!(one.look_up(&key, &tags).await, None);
    assert!(one.layer.counts().server_errors >= 1);
}

#[tokio::test]
async fn a_redis_that_refuses_writes_leaves_invalidations_in_the_journal() {
    let server = Server::start(&[]).await;
    let one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    one.fill(&key, &tags, b"v").await;
    // What a failed snapshot does, without one: a master that wants more replicas than it has takes no writes.
    server.run(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let missed = one.layer.invalidate(&tags, Some(at(8)), None).await.unwrap_err();
    assert!(matches!(&missed.cause, Error::Server(text) if text.contains("NOREPLICAS")), "{missed:?}");
    assert_eq!(one.look_up(&key, &tags).await, None, "its own instance does not serve it");
    assert_eq!(one.layer.counts().held, 1);
    server.run(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    eventually("it is delivered", async || one.layer.journal_len() == 0).await;
    assert_eq!(one.begin(&key, &tags).await.required, Some(at(8)));
}

#[tokio::test]
async fn a_redis_whose_snapshot_failed_leaves_invalidations_in_the_journal() {
    let server = Server::start(&["--save", "3600 1", "--dbfilename", "taken.rdb"]).await;
    let one = Instance::start(server.config()).await;
    let (key, tags) = (key("k"), tags(&["t"]));
    one.fill(&key, &tags, b"v").await;
    server.break_snapshots().await;
    let missed = one.layer.invalidate(&tags, Some(at(8)), None).await.unwrap_err();
    assert!(matches!(&missed.cause, Error::Server(text) if text.contains("MISCONF")), "{missed:?}");
    assert_eq!(one.look_up(&key, &tags).await, None);
    server.run(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]).await;
    eventually("it is delivered", async || one.layer.journal_len() == 0).await;
}

#[tokio::test]
async fn shutdown_says_what_could_not_be_delivered() {
    let mut server = Server::start(&[]).await;
    let mut one = Instance::start(server.config()).await;
    server.stop();
    one.expect(Event::Down).await;
    assert!(one.layer.invalidate(&tags(&["a", "b"]), None, None).await.is_err());
    assert_eq!(one.layer.shutdown(Instant::now() + Duration::from_millis(50)).await, 2);
}
