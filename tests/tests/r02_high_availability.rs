//! R2.2 to R2.4: replicas are counted, what is not well is left and comes back, and every node is asked all the time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use dbopt_diesel::dev::{Cluster, Node};
use dbopt_tests::crowd::Crowd;
use dbopt_tests::outage::metrics;
use dbopt_tests::receivers::Sink;
use dbopt_tests::{Things, becomes, calls, cluster, config, connect, node, prepared, sessions, until};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(20);

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test]
async fn r02_2_fewer_than_two_replicas_is_a_warning_in_the_log_the_state_and_the_metrics() {
    let (log, _guard) = dbopt_tests::log::Log::keep();
    let cluster = cluster(2).await;
    let things = Things { db: connect(config(&cluster)).await };
    assert_eq!(things.db.status().warnings, Vec::<String>::new());
    let replicas = async |kind| metrics(&things.db).await.sum("dbopt_replicas", &[("kind", kind)]);
    assert_eq!((replicas("serving").await, replicas("wanted").await), (2.0, 2.0));
    assert!(log.with("healthy replica").is_empty());
    cluster.replica(2).kill().await.unwrap();
    until("the state warns", PATIENCE, async || !things.db.status().warnings.is_empty()).await;
    assert!(things.db.status().warnings[0].starts_with("1 healthy replica, and there should be 2"));
    assert_eq!(replicas("serving").await, 1.0);
    // An instance that starts now says it in its log.
    let late = connect(config(&cluster)).await;
    assert_eq!(log.with("1 healthy replica, and there should be 2").len(), 1, "{}", log.text());
    cluster.replica(2).start().await.unwrap();
    until("the warning ends", PATIENCE, async || late.status().warnings.is_empty()).await;
}

/// A replica is killed under 64 readers: those in flight are run again elsewhere, nobody sees an error, and it returns only once it
/// has caught up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_3_a_killed_replica_leaves_within_one_failed_call_and_returns_caught_up() {
    let cluster = prepared(Cluster::builder().replicas(3).redis(false).proxied_replication(true)).await;
    let mut config = config(&cluster);
    // That it lags is not what keeps it away here.
    config.routing.max_lag = Duration::from_secs(60);
    let things = Things { db: connect(config).await };
    let crowd = Crowd::of_readers(&things);
    crowd.goes_on(500).await;
    let (lost, room) = (cluster.replica(2), 64.0);
    lost.kill().await.unwrap();
    crowd.goes_on(2000).await;
    becomes(&things.db, "replica-2", "unreachable", PATIENCE).await;
    // Only what was in flight there: nobody was sent there once one call had failed.
    let rerun = metrics(&things.db).await.sum("dbopt_calls_rerun_total", &[]);
    assert!(rerun <= room, "{rerun} calls met the dead replica");

    // It answers again, and cannot catch up yet.
    lost.link().unwrap().stall();
    for id in 0..50 {
        things.set(id, id).await.unwrap();
    }
    let written = cluster.primary().query_text("SELECT pg_current_wal_insert_lsn()").await.unwrap().unwrap();
    lost.start().await.unwrap();
    until("it answers", PATIENCE, async || node(&things.db, "replica-2").state.name() != "unreachable").await;
    let before = calls(&things.db, "read")["replica-2"];
    let hold_is_over = Instant::now() + millis(4000);
    while Instant::now() < hold_is_over {
        let state = node(&things.db, "replica-2").state;
        assert!(!state.serves(), "{state} without what was written");
        sleep(millis(50)).await;
    }
    // It streams again, and lacks what was written while it was away.
    lost.pause_replay().await.unwrap();
    lost.link().unwrap().heal();
    until("it catches up", PATIENCE, async || {
        node(&things.db, "replica-2").cause.is_some_and(|cause| cause.contains("has not caught up"))
    })
    .await;
    crowd.goes_on(500).await;
    assert_eq!(calls(&things.db, "read")["replica-2"], before, "no read went there");
    lost.resume_replay().await.unwrap();
    lost.wait_replayed(&written, PATIENCE).await.unwrap();
    becomes(&things.db, "replica-2", "healthy", Duration::from_secs(15)).await;
    until("it serves", PATIENCE, async || calls(&things.db, "read")["replica-2"] > before).await;
    let (errors, longest) = crowd.stop().await;
    println!("longest call {longest:?}, {rerun} calls run again");
    assert_eq!(errors, Vec::<String>::new());
}

/// A replica is frozen under 64 readers: its calls are run again elsewhere as soon as it is found out, and later calls avoid it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_3_a_frozen_replica_is_left_within_the_deadline() {
    let cluster = cluster(3).await;
    let mut config = config(&cluster);
    config.call.timeout = Duration::from_secs(15);
    let things = Things { db: connect(config).await };
    let crowd = Crowd::of_readers(&things);
    crowd.goes_on(500).await;
    cluster.replica(2).freeze().await.unwrap();
    becomes(&things.db, "replica-2", "unreachable", Duration::from_secs(10)).await;
    crowd.goes_on(1000).await;
    let before = calls(&things.db, "read")["replica-2"];
    crowd.goes_on(1000).await;
    assert_eq!(calls(&things.db, "read")["replica-2"], before, "later calls avoid it");
    cluster.replica(2).thaw().await.unwrap();
    becomes(&things.db, "replica-2", "healthy", Duration::from_secs(15)).await;
    let (errors, longest) = crowd.stop().await;
    println!("longest call {longest:?}");
    assert_eq!(errors, Vec::<String>::new());
    assert!(longest < Duration::from_secs(15), "{longest:?}");
}

/// Each time that it comes back a replica has to hold out for longer, and people hear of it once.
#[tokio::test]
async fn r02_3_a_flapping_replica_is_trusted_ever_later_and_is_one_alert() {
    let sink = Sink::start().await;
    let cluster = prepared(Cluster::builder().replicas(3).redis(false).proxied(true)).await;
    let mut config = config(&cluster);
    config.cluster.probe_interval = millis(100);
    (config.cluster.hold_down, config.cluster.hold_down_max) = (millis(300), millis(5000));
    config.alerts.webhook.url = sink.url("/alerts").as_str().into();
    (config.alerts.interval, config.alerts.hold) = (millis(50), millis(5000));
    (config.alerts.node.lasting, config.alerts.replicas.lasting) = (millis(100), Duration::from_secs(3600));
    let things = Things { db: connect(config).await };
    let proxy = cluster.replica(1).proxy().unwrap();
    let mut holds = Vec::new();
    for _ in 0..5 {
        proxy.reset();
        becomes(&things.db, "replica-1", "unreachable", PATIENCE).await;
        sleep(millis(300)).await;
        proxy.heal();
        becomes(&things.db, "replica-1", "returning", PATIENCE).await;
        let start = Instant::now();
        becomes(&things.db, "replica-1", "healthy", PATIENCE).await;
        holds.push(start.elapsed());
    }
    println!("{holds:?}");
    assert!(holds[4] > holds[0] * 3, "{holds:?}");
    let flapping = node(&things.db, "replica-1");
    assert_eq!(flapping.losses, 5);
    assert!(flapping.notes.iter().any(|note| note.contains("lost 5 times")), "{:?}", flapping.notes);
    let told = || {
        let requests = sink.taken();
        let alerts = requests.iter().flat_map(|r| r.json()["alerts"].as_array().unwrap().clone());
        alerts.filter(|a| a["rule"] == "node").map(|a| a["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until("the end is told", PATIENCE, async || told().len() >= 2).await;
    assert_eq!(told(), ["firing", "resolved"]);
}

/// A primary is frozen, another is promoted, and the old one wakes up: it gets no call, its sessions end, and a replica that follows it
/// further has diverged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_3_a_stale_primary_and_those_that_follow_it_are_left_alone() {
    let cluster = cluster(3).await;
    let mut config = config(&cluster);
    config.cluster.probe_interval = millis(200);
    let things = Things { db: connect(config).await };
    things.set(1, 1).await.unwrap();
    cluster.wait_caught_up(PATIENCE).await.unwrap();
    cluster.primary().freeze().await.unwrap();
    becomes(&things.db, "primary", "unreachable", PATIENCE).await;
    cluster.replica(1).query_text("SELECT pg_promote()::text").await.unwrap();
    until("it leads", PATIENCE, async || things.db.status().primary.as_deref() == Some("replica-1")).await;
    cluster.primary().thaw().await.unwrap();
    becomes(&things.db, "primary", "fenced", PATIENCE).await;
    let stale = node(&things.db, "primary").cause.unwrap();
    assert!(stale.contains("a stale primary: it is on timeline 1, and there is timeline 2"), "{stale}");
    until("its sessions end", PATIENCE, async || {
        !sessions(&cluster).await.keys().any(|(node, lane)| node == "primary" && lane != "read")
    })
    .await;
    assert_eq!(things.write_port().await.unwrap(), i32::from(cluster.replica(1).port()));
    // An instance that is started now, and reads of the old one first, is not taken in by it nor by those that follow it.
    let fresh = Things { db: connect(dbopt_tests::config(&cluster)).await };
    assert_eq!(fresh.write_port().await.unwrap(), i32::from(cluster.replica(1).port()));

    // The others still follow the old one, at first without anything that the new one lacks.
    becomes(&things.db, "replica-2", "disconnected", PATIENCE).await;
    let lost = node(&things.db, "replica-2");
    let cause = lost.cause.unwrap();
    assert!(cause.contains("still follows timeline 1 from `primary`, and the primary is on 2"), "{cause}");
    cluster.primary().execute("INSERT INTO things VALUES (77, 1)").await.unwrap();
    becomes(&things.db, "replica-2", "diverged", PATIENCE).await;
    becomes(&things.db, "replica-3", "diverged", PATIENCE).await;
    let cause = node(&things.db, "replica-3").cause.unwrap();
    assert!(cause.contains("which the primary left at") && cause.contains("pg_rewind"), "{cause}");
    let before = calls(&things.db, "read");
    for _ in 0..30 {
        assert_eq!(things.value(77).await.unwrap(), None, "a write that was lost is not shown");
    }
    for name in ["replica-2", "replica-3", "primary"] {
        assert_eq!(calls(&things.db, "read").get(name), before.get(name), "no read went to {name}");
    }
}

/// Calls wait for a connection of a primary that is none any more when their turn comes: they go to the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_3_a_connection_of_an_old_epoch_is_not_used() {
    let cluster = cluster(1).await;
    let mut config = config(&cluster);
    config.cluster.probe_interval = millis(100);
    (config.pool.min, config.pool.max) = (3, 9);
    let things = Things { db: connect(config).await };
    let status = things.db.status();
    let most = status.nodes[0].pools.iter().find(|pool| pool.lane == "write").unwrap().max;
    let (end, mut holding) = (Arc::new(Notify::new()), JoinSet::new());
    for id in 0..most as i64 {
        let (things, end) = (things.clone(), end.clone());
        holding.spawn(async move {
            let held = things.db.transaction(async |tx| {
                things.set_in(tx, id, 1).await?;
                end.notified().await;
                Ok::<_, diesel::result::Error>(())
            });
            drop(held.await);
        });
    }
    let in_use = |things: &Things| {
        let pools = things.db.status().nodes.into_iter().flat_map(|node| node.pools);
        pools.filter(|pool| pool.lane == "write").map(|pool| (pool.in_use, pool.waiting)).next()
    };
    until("all are taken", PATIENCE, async || in_use(&things) == Some((most, 0))).await;
    let write = |things: Things| async move { things.write_port().await };
    let waiting: Vec<_> = (0..3).map(|_| tokio::spawn(write(things.clone()))).collect();
    until("others wait", PATIENCE, async || in_use(&things) == Some((most, 3))).await;
    // The old one lives and would take writes.
    cluster.replica(1).query_text("SELECT pg_promote()::text").await.unwrap();
    until("the other one leads", PATIENCE, async || things.db.status().primary.as_deref() == Some("replica-1")).await;
    end.notify_waiters();
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap(), i32::from(cluster.replica(1).port()));
    }
    holding.join_all().await;
}

async fn asked_at(node: &Node) -> Vec<String> {
    let sql = "SELECT coalesce(string_agg(pid || ' ' || query_start::text, ','), '') FROM pg_stat_activity \
               WHERE application_name = 'dbopt probe'";
    let text = node.query_text(sql).await.unwrap().unwrap();
    text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Far more often than every 10 s, and on a connection of the monitor's own.
#[tokio::test]
async fn r02_4_every_node_is_asked_again_and_again_on_a_connection_of_its_own() {
    let cluster = cluster(3).await;
    let _things = Things { db: connect(config(&cluster)).await };
    for node in cluster.nodes() {
        let first = asked_at(node).await;
        assert_eq!(first.len(), 1, "{first:?}");
        let (mut last, mut times) = (first.clone(), 0);
        until("it is asked three times more", Duration::from_secs(10), async || {
            let now = asked_at(node).await;
            times += u32::from(now != last);
            last = now;
            times >= 3
        })
        .await;
        let pid = |seen: &[String]| seen[0].split(' ').next().unwrap().to_owned();
        assert_eq!(pid(&first), pid(&last), "the same connection");
    }
}

/// The next probe would be seconds away: what a call meets has the node asked at once.
#[tokio::test]
async fn r02_4_an_error_that_a_call_sees_has_the_node_asked_at_once() {
    let cluster = cluster(2).await;
    let mut config = config(&cluster);
    (config.cluster.probe_interval, config.retry.attempts) = (Duration::from_secs(9), 0);
    config.failover.wait_limit = 0;
    let things = Things { db: connect(config).await };
    things.set(1, 1).await.unwrap();
    // 25006: it takes no writes any more.
    cluster.primary().set("default_transaction_read_only", "on").await.unwrap();
    things.set(1, 2).await.unwrap_err();
    becomes(&things.db, "primary", "fenced", Duration::from_secs(4)).await;
    cluster.primary().unset("default_transaction_read_only").await.unwrap();
    until("it leads again", PATIENCE, async || things.set(1, 3).await.is_ok()).await;
    // 57P01: it ends its sessions, and is gone.
    cluster.primary().stop(dbopt_diesel::dev::Shutdown::Fast).await.unwrap();
    things.set(1, 4).await.unwrap_err();
    becomes(&things.db, "primary", "unreachable", Duration::from_secs(4)).await;
}
