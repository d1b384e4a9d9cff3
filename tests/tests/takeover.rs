//! R2.1, R2.5, R6.1: what callers, caches and people notice when another node becomes the primary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use dbopt_diesel::dev::{Cluster, Node, Shutdown};
use dbopt_diesel::{Config, Context, Db, Error, ErrorKind};
use dbopt_tests::outage::metrics;
use dbopt_tests::receivers::Sink;
use dbopt_tests::shelf::until_stored;
use dbopt_tests::writers::Writers;
use dbopt_tests::{
    Things, becomes, cached_config, calls, cluster, config, connect, node, prepared, sessions, shelf, until,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(20);

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Asked often, so that little is between what the monitor knows and what is.
fn quick(mut config: Config) -> Config {
    config.cluster.probe_interval = millis(100);
    config
}

async fn promote(node: &Node) {
    node.query_text("SELECT pg_promote()::text").await.unwrap();
}

async fn leads(db: &Db, name: &str) {
    until("it leads", PATIENCE, async || db.status().primary.as_deref() == Some(name)).await;
}

/// How many calls could be on their way at once: those that had a connection for writes.
fn most_in_flight(db: &Db) -> usize {
    let pools = db.status().nodes.into_iter().flat_map(|node| node.pools);
    pools.filter(|pool| pool.lane == "write").map(|pool| pool.max).max().unwrap()
}

async fn log_end(node: &Node) -> u64 {
    let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0')::text";
    node.query_text(sql).await.unwrap().unwrap().parse().unwrap()
}

/// Calls that had not been sent wait, and none of them fails; what was on its way fails once, and is not repeated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_writes_that_were_not_sent_wait_for_the_next_primary() {
    let cluster = cluster(2).await;
    let things = Things { db: connect(quick(config(&cluster))).await };
    let in_flight = most_in_flight(&things.db);
    let writers = Writers::of(&things);
    writers.go_on(500).await;
    let killed = Instant::now();
    cluster.primary().kill().await.unwrap();
    let waiting = async || things.db.status().primary_waits.waiting >= 60;
    until("they wait", PATIENCE, waiting).await;
    let before = writers.failures().len();
    // Longer than all retries take.
    sleep(Duration::from_secs(9)).await;
    assert_eq!(writers.failures().len(), before, "nobody gives up");
    promote(cluster.replica(1)).await;
    writers.go_on(1000).await;
    let (written, failures) = writers.stop().await;
    println!("{in_flight} at most were in flight; failed: {failures:?}");
    assert!(failures.len() <= in_flight, "{}", failures.len());
    assert!(failures.iter().all(|failure| failure.began <= killed + millis(500)), "{failures:?}");
    assert!(written.iter().any(|written| written.longest > Duration::from_secs(8)));
    // Each ended on the new primary.
    for written in &written {
        let sql = format!("SELECT value::text FROM things WHERE id = {}", written.id);
        let found: i64 = cluster.replica(1).query_text(&sql).await.unwrap().unwrap().parse().unwrap();
        assert_eq!(found, written.last);
    }
    let status = things.db.status();
    assert_eq!(status.failovers.count, 1);
    let outage = status.failovers.outage_seconds.unwrap();
    assert!((8.0..20.0).contains(&outage), "{outage}");
    let metrics = metrics(&things.db).await;
    assert_eq!(metrics.sum("dbopt_failovers_total", &[]), 1.0);
    assert!(metrics.sum("dbopt_primary_waits_total", &[]) >= 60.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_only_so_many_wait_each_until_its_own_deadline() {
    let cluster = cluster(1).await;
    let mut config = quick(config(&cluster));
    config.failover.wait_limit = 5;
    let things = Things { db: connect(config).await };
    cluster.primary().kill().await.unwrap();
    becomes(&things.db, "primary", "unreachable", PATIENCE).await;
    let spawn = |calls: &mut JoinSet<_>, id: i64| {
        let things = things.clone();
        calls.spawn(async move { things.set(id, 1).await });
    };
    let mut waiting = JoinSet::new();
    (0..5).for_each(|id| spawn(&mut waiting, id));
    until("five wait", PATIENCE, async || things.db.status().primary_waits.waiting == 5).await;
    for id in 5..20 {
        let error = things.set(id, 1).await.unwrap_err().to_string();
        assert!(error.contains("5 calls wait for one already (failover.wait_limit)"), "{error}");
    }
    // Critical calls have seats of their own.
    let began = Instant::now();
    let soon = Context::anonymous().with_deadline(began + millis(700));
    let error = soon.scope(things.critical_set(30, 1)).await.unwrap_err();
    assert!((millis(700)..millis(3000)).contains(&began.elapsed()), "{:?}", began.elapsed());
    let kind = Error::of(&error).unwrap().kind().clone();
    assert!(matches!(kind, ErrorKind::Deadline { .. }) && kind.is_retryable(), "{kind}");
    assert!(kind.to_string().contains("waiting for a node to become the primary"), "{kind}");
    promote(cluster.replica(1)).await;
    assert!(waiting.join_all().await.iter().all(Result::is_ok));
    let count = cluster.replica(1).query_text("SELECT count(*)::text FROM things").await.unwrap();
    assert_eq!(count.as_deref(), Some("5"), "what was refused did not happen");
}

/// The old primary wakes up, or is started again and named first: it serves nobody, and nobody is connected to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_an_old_primary_that_returns_serves_nobody() {
    let cluster = cluster(2).await;
    let things = Things { db: connect(quick(config(&cluster))).await };
    let in_flight = most_in_flight(&things.db);
    let writers = Writers::of(&things);
    writers.go_on(500).await;
    cluster.primary().freeze().await.unwrap();
    becomes(&things.db, "primary", "unreachable", PATIENCE).await;
    promote(cluster.replica(1)).await;
    leads(&things.db, "replica-1").await;
    let promoted = Instant::now();
    let open = || node(&things.db, "primary").pools.iter().map(|pool| pool.open).sum::<usize>();
    until("its connections are closed", Duration::from_secs(5), async || open() == 0).await;
    println!("closed {:?} after the new primary was known", promoted.elapsed());
    writers.go_on(200).await;
    cluster.primary().thaw().await.unwrap();
    becomes(&things.db, "primary", "fenced", PATIENCE).await;
    let served = calls(&things.db, "write")["primary"];
    until("its sessions end", PATIENCE, async || !sessions(&cluster).await.keys().any(|(node, _)| node == "primary"))
        .await;
    let rows = "SELECT coalesce(sum(value), 0)::text FROM things";
    let on_the_old_one = cluster.primary().query_text(rows).await.unwrap();
    writers.go_on(500).await;
    cluster.primary().restart().await.unwrap();
    becomes(&things.db, "primary", "fenced", PATIENCE).await;
    // One that starts now, with the old one as the first of its servers.
    let late = Things { db: connect(quick(config(&cluster))).await };
    for id in 100..150 {
        late.set(id, 1).await.unwrap();
        assert_eq!(late.write_port().await.unwrap(), i32::from(cluster.replica(1).port()));
    }
    writers.go_on(500).await;
    let (written, failures) = writers.stop().await;
    assert!(failures.len() <= in_flight, "{failures:?}");
    assert_eq!(calls(&things.db, "write")["primary"], served, "no write was served there");
    assert_eq!(cluster.primary().query_text(rows).await.unwrap(), on_the_old_one, "nor did one arrive");
    for written in &written {
        assert_eq!(late.value(written.id).await.unwrap(), Some(written.last));
    }
}

/// Told to take no more writes, left to end those that run, stopped; then another one is promoted: callers see nothing but a delay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_a_planned_change_of_the_primary_costs_no_caller_an_error() {
    let cluster = cluster(2).await;
    let things = Things { db: connect(quick(config(&cluster))).await };
    let writers = Writers::of(&things);
    writers.go_on(500).await;
    let old = cluster.primary();
    old.set("default_transaction_read_only", "on").await.unwrap();
    let running = "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'dbopt write' AND backend_xid IS NOT NULL";
    until("what runs has ended", PATIENCE, async || old.query_text(running).await.unwrap().as_deref() == Some("0"))
        .await;
    until("they wait", PATIENCE, async || things.db.status().primary_waits.waiting >= 60).await;
    old.stop(Shutdown::Fast).await.unwrap();
    promote(cluster.replica(1)).await;
    leads(&things.db, "replica-1").await;
    writers.go_on(1000).await;
    let (written, failures) = writers.stop().await;
    println!("the longest write took {:?}", written.iter().map(|written| written.longest).max());
    assert!(failures.is_empty(), "{failures:?}");
    for written in &written {
        assert_eq!(things.value(written.id).await.unwrap_or_default().unwrap_or(written.last), written.last);
    }
    assert_eq!(things.db.status().failovers.lost_bytes, Some(0));
}

/// A session that is opened after the primary was closed says nothing of it when it begins: what it said at its start counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_a_new_session_of_a_closed_primary_takes_no_write() {
    let cluster = cluster(1).await;
    let mut config = config(&cluster);
    // Nobody else notices at once that it was closed.
    config.cluster.probe_interval = Duration::from_secs(10);
    (config.pool.min, config.pool.max) = (3, 12);
    let things = Things { db: connect(config).await };
    let open = async || sessions(&cluster).await.get(&("primary".to_owned(), "write".to_owned())).copied().unwrap_or(0);
    let mut busy = JoinSet::new();
    for _ in 0..open().await {
        let things = things.clone();
        busy.spawn(async move { things.slow_write(1.5).await });
    }
    let before = open().await;
    let running =
        "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'dbopt write' AND state = 'active'";
    let all = before.to_string();
    until("all are busy", PATIENCE, async || cluster.primary().query_text(running).await.unwrap() == Some(all.clone()))
        .await;
    cluster.primary().set("default_transaction_read_only", "on").await.unwrap();
    let write = tokio::spawn({
        let things = things.clone();
        async move { things.set(1, 7).await }
    });
    until("it waits", PATIENCE, async || things.db.status().primary_waits.waiting == 1).await;
    cluster.primary().set("default_transaction_read_only", "off").await.unwrap();
    write.await.unwrap().unwrap();
    while let Some(done) = busy.join_next().await {
        done.unwrap().unwrap();
    }
}

/// A replica that lacks the last writes is promoted: how much is lost and how long it took is said, counted and told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_5_people_are_told_how_long_a_failover_took_and_how_much_it_lost() {
    let sink = Sink::start().await;
    let cluster = prepared(Cluster::builder().replicas(1).redis(false).proxied_replication(true)).await;
    let mut config = quick(config(&cluster));
    config.alerts.webhook.url = sink.url("/alerts").as_str().into();
    config.alerts.interval = millis(50);
    config.alerts.failover.shown = Duration::from_secs(2);
    let things = Things { db: connect(config).await };
    assert_eq!(metrics(&things.db).await.sum("dbopt_failovers_total", &[]), 0.0, "there from the start");
    things.set(1, 1).await.unwrap();
    cluster.wait_caught_up(PATIENCE).await.unwrap();
    cluster.replica(1).link().unwrap().cut();
    becomes(&things.db, "replica-1", "disconnected", PATIENCE).await;
    for value in 2..200 {
        things.set(1, value).await.unwrap();
    }
    let (end, seen) =
        (log_end(cluster.primary()).await, format!("{:X}", log_end(cluster.primary()).await & 0xffff_ffff));
    until("the monitor has seen it", PATIENCE, async || {
        node(&things.db, "primary").position.is_some_and(|position| position.ends_with(&seen))
    })
    .await;
    cluster.primary().kill().await.unwrap();
    becomes(&things.db, "primary", "unreachable", PATIENCE).await;
    sleep(Duration::from_secs(2)).await;
    let sql = "SELECT (pg_last_wal_replay_lsn() - '0/0')::text";
    let fork: u64 = cluster.replica(1).query_text(sql).await.unwrap().unwrap().parse().unwrap();
    promote(cluster.replica(1)).await;
    leads(&things.db, "replica-1").await;
    let failovers = things.db.status().failovers;
    println!("lost {} bytes: {failovers:?}", end - fork);
    assert_eq!(failovers.lost_bytes, Some(end - fork));
    assert!(end > fork && failovers.outage_seconds.is_some_and(|seconds| (2.0..15.0).contains(&seconds)));
    let told = || {
        let all = sink.taken().into_iter().flat_map(|request| request.json()["alerts"].as_array().unwrap().clone());
        all.filter(|alert| alert["rule"] == "failover").collect::<Vec<_>>()
    };
    until("it is told, and that it is over", PATIENCE, async || told().len() == 2).await;
    let summary = told()[0]["summary"].as_str().unwrap().to_owned();
    println!("{summary}");
    assert!(summary.contains(&format!("at least {} bytes of log are lost", end - fork)), "{summary}");
    assert!(summary.contains("replica-1 is the primary now, in place of primary: there was none for"), "{summary}");
    assert_eq!(told()[1]["status"], "resolved");
    let scraped = metrics(&things.db).await;
    assert_eq!(scraped.sum("dbopt_failover_lost_bytes", &[]), (end - fork) as f64);
    assert!(scraped.sum("dbopt_failover_outage_seconds", &[]) >= 2.0);
    let events = things.db.status().events;
    let event = events.iter().find(|event| serde_json::to_value(event.kind).unwrap() == "failover").unwrap();
    assert!(event.text.contains("bytes of log are lost"), "{event:?}");
}

/// Results that show writes which are gone, in memory and in Redis: they are gone as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_results_that_show_lost_writes_are_not_served() {
    let cluster = prepared(Cluster::builder().replicas(1).proxied_replication(true)).await;
    let (one, other) = (shelf(quick(cached_config(&cluster))).await, shelf(quick(cached_config(&cluster))).await);
    one.set(1, 1).await.unwrap();
    cluster.wait_caught_up(PATIENCE).await.unwrap();
    cluster.replica(1).link().unwrap().cut();
    becomes(&one.db, "replica-1", "disconnected", PATIENCE).await;
    becomes(&other.db, "replica-1", "disconnected", PATIENCE).await;
    let (caller, found) =
        (Context::anonymous(), async |item: Option<dbopt_tests::shelf::Item>| item.map(|item| item.value));
    caller.clone().scope(one.set(1, 2)).await.unwrap();
    assert_eq!(found(caller.clone().scope(one.find(1)).await.unwrap()).await, Some(2));
    until_stored(&one, 1).await;
    let token = caller.latest_token().unwrap();
    assert_eq!(found(Context::anonymous().with_token(token).scope(other.find(1)).await.unwrap()).await, Some(2));
    assert_eq!(other.loads(), 0, "it came from Redis");
    cluster.primary().kill().await.unwrap();
    becomes(&one.db, "primary", "unreachable", PATIENCE).await;
    promote(cluster.replica(1)).await;
    leads(&one.db, "replica-1").await;
    leads(&other.db, "replica-1").await;
    for shelf in [&one, &other] {
        until("what is gone is not shown", Duration::from_secs(5), async || {
            found(shelf.find(1).await.unwrap()).await == Some(1)
        })
        .await;
    }
    assert!(one.loads() + other.loads() >= 2);
    // The token of the lost write is served, and its bearer can know.
    let bearer = Context::anonymous().with_token(token);
    assert_eq!(found(bearer.clone().scope(other.find(1)).await.unwrap()).await, Some(1));
    let things = Things { db: other.db.clone() };
    assert_eq!(bearer.clone().scope(things.value(1)).await.unwrap(), Some(1));
    assert!(bearer.has_lost_writes());
    assert!(other.db.status().failovers.tokens_lost >= 1);
    one.set(1, 3).await.unwrap();
    until("both see what is new", PATIENCE, async || found(other.find(1).await.unwrap()).await == Some(3)).await;
}

/// A caller who has written before the failover sees that afterwards: on the new primary while the other replica lacks it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_a_token_of_the_old_timeline_is_kept_on_the_new_one() {
    let cluster = prepared(Cluster::builder().replicas(2).redis(false).proxied_replication(true)).await;
    let things = Things { db: connect(quick(config(&cluster))).await };
    things.set(1, 1).await.unwrap();
    cluster.wait_caught_up(PATIENCE).await.unwrap();
    let last = cluster.replica(2);
    last.link().unwrap().cut();
    let caller = Context::anonymous();
    caller.clone().scope(things.set(1, 2)).await.unwrap();
    let written = cluster.primary().query_text("SELECT pg_current_wal_insert_lsn()::text").await.unwrap().unwrap();
    cluster.replica(1).wait_replayed(&written, PATIENCE).await.unwrap();
    cluster.primary().kill().await.unwrap();
    promote(cluster.replica(1)).await;
    leads(&things.db, "replica-1").await;
    let own = async || caller.clone().scope(things.value(1)).await.unwrap();
    for _ in 0..30 {
        assert_eq!(own().await, Some(2), "its own write");
    }
    assert!(!caller.has_lost_writes());
}

fn unreached(db: &Db, name: &str) -> f64 {
    node(db, name).unreached_seconds.unwrap_or(-1.0)
}

/// Every write reaches every replica, and one that does not is told, with what to do: replaying was paused, the receiver is cut, the node is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_1_that_every_write_reaches_every_replica_is_verified() {
    let sink = Sink::start().await;
    let cluster = prepared(Cluster::builder().replicas(2).redis(false).proxied_replication(true)).await;
    let mut config = quick(config(&cluster));
    config.alerts.webhook.url = sink.url("/alerts").as_str().into();
    (config.alerts.interval, config.alerts.hold) = (millis(50), millis(300));
    let limits = &mut config.alerts.unreached;
    (limits.fire, limits.resolve, limits.lasting) = (millis(3000), millis(2000), millis(100));
    (config.cluster.hold_down, config.cluster.hold_down_max) = (millis(200), millis(1000));
    let things = Things { db: connect(config).await };
    let writers = Writers::of(&things);
    let names = ["replica-1", "replica-2"];
    // Under load everything arrives, and is known to.
    writers.go_on(1000).await;
    for name in names {
        let seen = unreached(&things.db, name);
        assert!((0.0..3.0).contains(&seen), "{name}: {seen}");
    }
    let told = || {
        let all = sink.taken().into_iter().flat_map(|request| request.json()["alerts"].as_array().unwrap().clone());
        let of = |alert: &serde_json::Value| alert["rule"] == "unreached";
        let text =
            |alert: serde_json::Value| [&alert["status"], &alert["summary"]].map(|v| v.as_str().unwrap().to_owned());
        all.filter(of).map(text).collect::<Vec<_>>()
    };
    assert!(told().is_empty(), "{:?}", told());
    let replica = cluster.replica(1);
    for (n, (cause, remedy)) in
        [("paused", "pg_wal_replay_resume()"), ("cut", "primary_conninfo"), ("dead", "start it")]
            .into_iter()
            .enumerate()
    {
        let began = Instant::now();
        match cause {
            "paused" => replica.pause_replay().await.unwrap(),
            "cut" => replica.link().unwrap().cut(),
            _ => replica.kill().await.unwrap(),
        }
        until("it is told", PATIENCE, async || told().len() == 2 * n + 1).await;
        let [status, summary] = told()[2 * n].clone();
        println!("after {:?}: {summary}", began.elapsed());
        assert!(status == "firing" && summary.contains("writes have not reached replica-1 for"), "{summary}");
        assert!(summary.contains(remedy), "{cause}: {summary}");
        let scraped = metrics(&things.db).await;
        let metric = |name: &str| scraped.sum("dbopt_replica_unreached_seconds", &[("node", name)]);
        assert!(metric("replica-1") >= 3.0, "{}", metric("replica-1"));
        assert!(metric("replica-2") < 3.0, "{}", metric("replica-2"));
        match cause {
            "paused" => replica.resume_replay().await.unwrap(),
            "cut" => replica.link().unwrap().heal(),
            _ => replica.start().await.unwrap(),
        }
        until("its end is told", PATIENCE, async || told().len() == 2 * n + 2).await;
        assert_eq!(told()[2 * n + 1][0], "resolved");
    }
    let (_, failures) = writers.stop().await;
    assert!(failures.is_empty(), "{failures:?}");
    // And the last write arrives as well.
    until("all have everything", PATIENCE, async || names.iter().all(|name| unreached(&things.db, name) == 0.0)).await;
    let events = things.db.status().events;
    assert!(events.iter().any(|event| event.text.contains("writes have not reached replica-1")), "{events:?}");
    assert_eq!(node(&things.db, "primary").unreached_seconds, None);
}
