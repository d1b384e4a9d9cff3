//! R2.1: when the primary is lost a replica takes over, one and only one, and the old primary comes back as a replica.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use dbopt_diesel::core::failover::Step;
use dbopt_diesel::dev::{Cluster, LocalAgent, Shutdown};
use dbopt_diesel::supervise::{Supervisor, grants};
use dbopt_tests::alerts::{quick, told};
use dbopt_tests::plain_writers::Writers;
use dbopt_tests::receivers::Sink;
use dbopt_tests::supervised::{AtWork, REJOIN, open_primaries, supervisor, supervisor_with, timeline, whole};
use dbopt_tests::{named, prepared, until};
use tokio::time::{Instant, sleep};

/// Criterion 2.1 says 30 s; checked every second it takes a few, and more on a machine that has other things to do.
const TAKEOVER: Duration = Duration::from_secs(30);

async fn start(replicas: usize) -> Arc<Cluster> {
    // With RUST_LOG=dbopt=info, and --no-capture, the coordinators' own words.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    Arc::new(prepared(Cluster::builder().replicas(replicas).redis(false)).await)
}

async fn replaced(cluster: &Cluster, old: usize) -> usize {
    let mut new = old;
    until("another primary takes writes", TAKEOVER, async || {
        for (i, node) in cluster.nodes().iter().enumerate().filter(|(i, _)| *i != old) {
            if node.is_running() && node.is_primary().await.unwrap_or(false) {
                new = i;
            }
        }
        new != old
    })
    .await;
    new
}

async fn synchronous(cluster: &Cluster) {
    until("writes wait for replicas", TAKEOVER, async || {
        let value = cluster.primary().query_text("SHOW synchronous_standby_names").await.unwrap();
        value.is_some_and(|value| value.starts_with("ANY 1"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_a_killed_primary_is_replaced_without_a_lost_write_and_returns_as_a_replica() {
    let cluster = start(3).await;
    let supervisor = supervisor(&cluster, true).with_agent(Arc::new(LocalAgent::new(cluster.clone())));
    let _at_work = AtWork::begin(supervisor);
    synchronous(&cluster).await;
    let writers = Writers::start(&cluster, 16).await;
    until("writes", TAKEOVER, async || writers.count() > 200).await;
    let killed = Instant::now();
    cluster.primary().kill().await.unwrap();
    let new = replaced(&cluster, 0).await;
    until("writes go on", TAKEOVER, async || writers.acknowledged_by(new, killed) > 100).await;
    println!("first acknowledged write after {:?}", writers.outage(0, killed));
    whole(&cluster, 2).await;
    println!("all replicas are back after {:?}", killed.elapsed());
    let lost = writers.lost(&cluster.nodes()[new]).await;
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_a_frozen_primary_is_replaced_and_never_acknowledges_a_write_again() {
    let cluster = start(3).await;
    let _at_work = AtWork::begin(supervisor(&cluster, true));
    synchronous(&cluster).await;
    let writers = Writers::start(&cluster, 16).await;
    until("writes", TAKEOVER, async || writers.count() > 200).await;
    cluster.primary().freeze().await.unwrap();
    let frozen = Instant::now();
    let new = replaced(&cluster, 0).await;
    // What the old one had answered before it was stopped may have been read a moment after that, but not now any more.
    let taken_over = Instant::now();
    until("writes go on", TAKEOVER, async || writers.acknowledged_by(new, frozen) > 100).await;
    println!("first acknowledged write after {:?}", writers.outage(0, frozen));
    cluster.primary().thaw().await.unwrap();
    until("the old primary is fenced", TAKEOVER, async || open_primaries(&cluster).await == [new]).await;
    // By hand: it comes back as it was.
    cluster.primary().restart().await.unwrap();
    until("it stays so", TAKEOVER, async || open_primaries(&cluster).await == [new]).await;
    let before = writers.count();
    until("writes go on", TAKEOVER, async || writers.count() > before + 200).await;
    assert_eq!(writers.acknowledged_by(0, taken_over), 0);
    let lost = writers.lost(&cluster.nodes()[new]).await;
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_of_two_coordinators_one_promotes_and_the_other_takes_over_from_it() {
    let cluster = start(3).await;
    let agent = Arc::new(LocalAgent::new(cluster.clone()));
    let first = AtWork::begin(supervisor(&cluster, false).with_agent(agent.clone()));
    let _second = AtWork::begin(supervisor(&cluster, false).with_agent(agent));
    sleep(Duration::from_secs(3)).await;
    cluster.primary().kill().await.unwrap();
    let new = replaced(&cluster, 0).await;
    whole(&cluster, 2).await;
    // Whichever had the votes: with the first one gone the second one does it all alone.
    drop(first);
    cluster.nodes()[new].kill().await.unwrap();
    replaced(&cluster, new).await;
    whole(&cluster, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_a_coordinator_cut_off_from_the_primary_alone_does_nothing() {
    let cluster = Arc::new(prepared(Cluster::builder().replicas(3).redis(false).proxied(true)).await);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let supervisor = supervisor(&cluster, false).before_each(move |step| {
        let _ = tell.send(step.clone());
        ControlFlow::Continue(())
    });
    let _at_work = AtWork::begin(supervisor);
    while !matches!(told.recv().await, Some(Step::Watch { .. })) {}
    cluster.primary().proxy().unwrap().blackhole();
    let mut heard = 0;
    while heard < 10 {
        match told.recv().await.unwrap() {
            Step::Wait(why) => heard += usize::from(why.to_string().contains("still hears")),
            Step::Watch { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    cluster.primary().proxy().unwrap().heal();
    whole(&cluster, 1).await;
}

fn changes(step: &Step) -> bool {
    !matches!(step, Step::Watch { .. } | Step::Wait(_))
}

/// After so many steps the coordinator is gone; the next one finds the cluster as it was left.
async fn stopped_after(cluster: &Cluster, steps: usize) -> usize {
    let (mut done, mut last) = (0, None);
    let counted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = counted.clone();
    let mut first = supervisor(cluster, false).before_each(move |step| {
        if changes(step) && last.as_ref() != Some(step) {
            last = Some(step.clone());
            if done == steps {
                return ControlFlow::Break(());
            }
            done += 1;
            counter.store(done, std::sync::atomic::Ordering::Relaxed);
        }
        ControlFlow::Continue(())
    });
    let _ = tokio::time::timeout(Duration::from_secs(20), first.run()).await;
    counted.load(std::sync::atomic::Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_what_a_coordinator_left_half_done_is_finished_by_the_next() {
    let cluster = start(3).await;
    let agent = Arc::new(LocalAgent::new(cluster.clone()));
    let mut primary = 0;
    for steps in 0..5 {
        let before = timeline(&cluster.nodes()[primary]).await;
        cluster.nodes()[primary].kill().await.unwrap();
        let done = stopped_after(&cluster, steps).await;
        assert_eq!(done, steps, "as many steps as there should be");
        let next = AtWork::begin(supervisor(&cluster, false).with_agent(agent.clone()));
        primary = replaced(&cluster, primary).await;
        whole(&cluster, before + 1).await;
        drop(next);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_what_a_coordinator_left_half_done_is_taken_back_when_the_primary_returns() {
    let cluster = start(3).await;
    cluster.primary().freeze().await.unwrap();
    assert_eq!(stopped_after(&cluster, 1).await, 1);
    for replica in cluster.replicas() {
        let conninfo = replica.query_text("SHOW primary_conninfo").await.unwrap().unwrap();
        assert!(conninfo.contains("dbopt.epoch=1"), "{conninfo}");
    }
    cluster.primary().thaw().await.unwrap();
    let _at_work = AtWork::begin(supervisor(&cluster, false));
    whole(&cluster, 1).await;
    assert_eq!(open_primaries(&cluster).await, [0]);
}

/// Between its last look and the promotion it says nothing for longer than its lease. Another one promotes another replica meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn r02_1_a_coordinator_that_freezes_before_its_promotion_comes_too_late() {
    let cluster = start(4).await;
    let (tell, chosen) = tokio::sync::oneshot::channel();
    let (thaw, frozen) = std::sync::mpsc::channel::<()>();
    let (mut tell, frozen) = (Some(tell), std::sync::Mutex::new(frozen));
    let mut first = supervisor(&cluster, false).before_each(move |step| {
        if let Step::Promote { node, .. } = step
            && let Some(tell) = tell.take()
        {
            let _ = tell.send(*node);
            let _ = tokio::task::block_in_place(|| frozen.lock().unwrap().recv());
        }
        ControlFlow::Continue(())
    });
    cluster.primary().kill().await.unwrap();
    let first = tokio::spawn(async move {
        while first.failovers().is_empty() {
            let _ = first.turn().await;
        }
    });
    let chosen = chosen.await.unwrap();
    cluster.nodes()[chosen].freeze().await.unwrap();
    let second = AtWork::begin(supervisor(&cluster, false));
    let mut new = 0;
    until("another primary", TAKEOVER, async || {
        for (i, node) in cluster.nodes().iter().enumerate().filter(|(i, _)| *i != 0 && *i != chosen) {
            if node.is_primary().await.unwrap_or(false) {
                new = i;
            }
        }
        new != 0
    })
    .await;
    cluster.nodes()[chosen].thaw().await.unwrap();
    thaw.send(()).unwrap();
    until("all that live follow it", REJOIN, async || {
        let mut there = true;
        for node in &cluster.nodes()[1..] {
            there &= timeline(node).await == 2;
        }
        there
    })
    .await;
    assert_eq!(open_primaries(&cluster).await, [new]);
    first.abort();
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_a_switchover_loses_nothing_and_the_old_primary_follows() {
    let cluster = start(3).await;
    let writers = Writers::start(&cluster, 8).await;
    until("writes", TAKEOVER, async || writers.count() > 100).await;
    let mut one = supervisor(&cluster, false).with_agent(Arc::new(LocalAgent::new(cluster.clone())));
    let began = Instant::now();
    assert_eq!(one.switchover(Some("replica-2")).await.unwrap(), "replica-2");
    until("writes go on", TAKEOVER, async || writers.acknowledged_by(2, began) > 50).await;
    println!("first write on the new primary after {:?}", writers.outage(0, began));
    let _at_work = AtWork::begin(one);
    whole(&cluster, 2).await;
    let lost = writers.lost(cluster.replica(2)).await;
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_a_role_with_the_printed_grants_is_enough_and_without_them_the_check_says_what_is_missing() {
    let cluster = start(2).await;
    cluster.primary().execute("CREATE ROLE poor LOGIN").await.unwrap();
    let url = cluster.primary().url_for("postgres");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    for statement in grants("coordinator").lines().filter(|line| line.ends_with(';')) {
        client.batch_execute(statement).await.unwrap();
    }
    cluster.wait_caught_up(Duration::from_secs(10)).await.unwrap();
    let as_role = |role: &str| {
        let urls =
            cluster.nodes().iter().map(|node| (node.name(), node.url().replace("postgres@", &format!("{role}@"))));
        let mut config = named(urls);
        config.supervise.interval = Duration::from_millis(500);
        Supervisor::new(&config).unwrap()
    };
    let poor = as_role("poor").check().await;
    assert!(!poor.is_ready());
    let said = poor.problems().collect::<Vec<_>>().join("\n");
    for wanted in [
        "pg_monitor",
        "pg_signal_backend",
        "pg_checkpoint",
        "pg_promote",
        "REPLICATION",
        "ALTER SYSTEM SET primary_conninfo",
    ] {
        assert!(said.contains(wanted), "{wanted} in {said}");
    }
    let mut rich = as_role("coordinator");
    let ready = rich.check().await;
    assert!(ready.is_ready(), "{:?}", ready.problems().collect::<Vec<_>>());
    let _at_work = AtWork::begin(rich);
    sleep(Duration::from_secs(2)).await;
    cluster.primary().kill().await.unwrap();
    replaced(&cluster, 0).await;
    until("the other replica follows", REJOIN, async || {
        timeline(cluster.replica(1)).await == 2 && timeline(cluster.replica(2)).await == 2
    })
    .await;
}

/// One server, two; and three on which a failover is possible and costs more than it need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_a_check_says_what_to_write_where_a_failover_is_impossible_or_dear() {
    let said = async |cluster: &Cluster| {
        let readiness = supervisor(cluster, false).check().await;
        (readiness.is_ready(), readiness.problems().collect::<Vec<_>>().join("\n"))
    };
    for replicas in [0, 1] {
        let cluster = start(replicas).await;
        let (ready, said) = said(&cluster).await;
        println!("{said}");
        assert!(!ready);
        let wanted =
            format!("{} configured: two servers must agree without the primary: name at least three", replicas + 1);
        assert!(said.contains(&wanted), "{said}");
        // And nobody is promoted, whatever happens.
        let mut one = supervisor(&cluster, false);
        cluster.primary().kill().await.unwrap();
        for _ in 0..10 {
            let _ = one.turn().await;
        }
        assert!(one.failovers().is_empty());
        assert!(open_primaries(&cluster).await.is_empty());
    }
    let builder = Cluster::builder().replicas(2).redis(false).setting("wal_log_hints", "off");
    let builder = builder.setting("wal_receiver_timeout", "60s").setting("max_slot_wal_keep_size", "-1");
    let cluster = builder.start().await.unwrap();
    for node in cluster.nodes() {
        node.stop(Shutdown::Fast).await.unwrap();
        let mut disable = tokio::process::Command::new(cluster.binaries().tool("pg_checksums"));
        let disabled = disable.args(["--disable", "--no-sync", "-D"]).arg(node.data_dir()).output().await.unwrap();
        assert!(disabled.status.success(), "{}", String::from_utf8_lossy(&disabled.stderr));
    }
    for node in cluster.nodes() {
        node.start().await.unwrap();
    }
    let (ready, said) = said(&cluster).await;
    println!("{said}");
    assert!(ready, "it is possible");
    for name in ["primary", "replica-1", "replica-2"] {
        for wanted in ["set wal_log_hints = on", "set it to 5s", "set a limit"] {
            assert!(
                said.lines().any(|line| line.starts_with(name) && line.contains(wanted)),
                "{name}: {wanted} in {said}"
            );
        }
    }
}

/// No application is told to tell: the coordinator does, and the one that stands by is silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_5_the_coordinator_tells_people_of_its_failover() {
    let (sink, silent) = (Sink::start().await, Sink::start().await);
    let cluster = start(2).await;
    let telling = |sink: &Sink| {
        supervisor_with(&cluster, |config| {
            *config = quick(config.clone(), sink);
            config.alerts.failover.shown = Duration::from_secs(2);
            config.supervise.interval = Duration::from_millis(500);
        })
    };
    let _at_work = AtWork::begin(telling(&sink).with_agent(Arc::new(LocalAgent::new(cluster.clone()))));
    sleep(Duration::from_secs(2)).await;
    let _stands_by = AtWork::begin(telling(&silent));
    sleep(Duration::from_secs(2)).await;
    assert!(told(&sink).is_empty(), "{:?}", told(&sink));
    cluster.primary().kill().await.unwrap();
    let new = replaced(&cluster, 0).await;
    let failover = format!("failover {}, timeline 2", cluster.nodes()[new].name());
    for line in [
        format!("firing {failover}"),
        "firing node primary".into(),
        format!("resolved {failover}"),
        "resolved node primary".into(),
    ] {
        until(&line, REJOIN, async || told(&sink).contains(&line)).await;
    }
    let count = |line: &str| told(&sink).iter().filter(|told| told.starts_with(line)).count();
    assert_eq!((count("firing failover"), count("firing node")), (1, 1), "{:?}", told(&sink));
    let alerts = sink.taken().into_iter().flat_map(|request| request.json()["alerts"].as_array().unwrap().clone());
    let all: Vec<(String, String)> =
        alerts.map(|alert| (alert["key"].to_string(), alert["summary"].as_str().unwrap().to_owned())).collect();
    println!("{all:#?}");
    let of = |key: &str| &all.iter().find(|(found, _)| found.contains(key)).unwrap().1;
    assert!(of("shop/failover").contains("is the primary now, in place of primary: there was none for"), "{all:?}");
    assert!(
        of("shop/failover").contains("of log are lost") || of("shop/failover").contains("no log is known to be lost")
    );
    assert!(of("shop/node/primary").contains("its agent brings it back as a replica"), "{all:?}");
    assert!(told(&silent).is_empty(), "{:?}", told(&silent));
}

/// A kill, a freeze, and a return by hand. Longer: `cargo xtask failover --runs 30`.
#[tokio::test]
async fn r02_1_the_judge_finds_every_promise_kept() {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_failover"));
    // Criterion 2.1: other machines are busier.
    let output = command.args(["--runs", "3", "--within", "30s"]).kill_on_drop(true).output().await.unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Longer: `cargo xtask failover --switchovers 10`.
#[tokio::test]
async fn r02_1_two_changes_by_plan_cost_no_caller_of_an_application_an_error() {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_failover"));
    let output = command.args(["--switchovers", "2"]).kill_on_drop(true).output().await.unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
