//! R2.1, R2.5, R6.1 on the real Patroni and etcd: `cargo xtask patroni`. They take minutes: a leader is replaced when its lock ends, after 20 s.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use dbopt_diesel::core::cluster::Patroni;
use dbopt_tests::patroni::{PatroniCluster, Pulse, Served};
use dbopt_tests::{Things, connect, node, until};
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(90);

/// The application follows within this of the first write that the new leader took of anybody.
const FOLLOWS: Duration = Duration::from_secs(1);

struct Scene {
    cluster: PatroniCluster,
    things: Things,
    pulse: Pulse,
    served: Served,
}

impl Scene {
    async fn begin(failsafe: bool) -> Scene {
        // With RUST_LOG=dbopt=info, and --no-capture, the application's own words.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let cluster = PatroniCluster::start(2, failsafe).await;
        let things = Things { db: connect(cluster.config()).await };
        assert_eq!(things.db.status().primary.as_deref(), Some("n0"));
        let pulse = Pulse::of(cluster.members.iter().map(|member| member.url()));
        let served = Served::of(&things, 8);
        until("writes", PATIENCE, async || served.count() > 200).await;
        Scene { cluster, things, pulse, served }
    }

    fn port(&self, member: usize) -> u16 {
        self.cluster.members[member].port
    }

    /// Waits for the next leader after `fault`, and judges who served whom.
    async fn follows(&self, old: usize, fault: Instant) -> usize {
        let mut next = None;
        until("another one takes writes", PATIENCE, async || {
            next = self.pulse.next_leader(old, fault);
            next.is_some()
        })
        .await;
        let (new, took) = next.unwrap();
        until("the application's writes go on", PATIENCE, async || self.served.by(self.port(new)).len() > 200).await;
        let first = self.served.by(self.port(new)).into_iter().map(|write| write.ended).min().unwrap();
        println!(
            "the new leader took writes after {:?}, the application's {:?} later",
            took - fault,
            first.saturating_duration_since(took)
        );
        assert!(first.saturating_duration_since(took) < FOLLOWS, "{:?}", first - took);
        self.nothing_from(old, took);
        new
    }

    /// The old one served nobody since.
    fn nothing_from(&self, old: usize, since: Instant) {
        let stale: Vec<_> = self.served.by(self.port(old)).into_iter().filter(|write| write.ended > since).collect();
        let late = stale.iter().map(|write| write.ended - since).max();
        assert!(
            stale.is_empty(),
            "{} writes by the old leader, the last one {late:?} after the new one took writes",
            stale.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Patroni and etcd: cargo xtask patroni"]
async fn r02_1_a_leader_that_is_killed_with_its_patroni_is_followed_by_the_next() {
    let scene = Scene::begin(true).await;
    let fault = Instant::now();
    scene.cluster.members[0].kill();
    scene.follows(0, fault).await;
    scene.cluster.members[0].start_patroni();
    scene.cluster.whole().await;
    until("all nodes serve", PATIENCE, async || scene.things.db.status().nodes.iter().all(|node| node.state.serves()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Patroni and etcd: cargo xtask patroni"]
async fn r02_1_a_leader_that_freezes_and_wakes_up_serves_nobody_any_more() {
    let scene = Scene::begin(true).await;
    let fault = Instant::now();
    scene.cluster.members[0].freeze();
    scene.follows(0, fault).await;
    let woken = Instant::now();
    scene.cluster.members[0].thaw();
    scene.cluster.whole().await;
    println!("back as a replica after {:?}", woken.elapsed());
    scene.nothing_from(0, fault + Duration::from_secs(5));
}

/// The server goes on taking writes, and nothing ends it: only the application can leave it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Patroni and etcd: cargo xtask patroni"]
async fn r02_1_a_primary_whose_patroni_is_gone_is_left_when_another_one_leads() {
    let scene = Scene::begin(true).await;
    let fault = Instant::now();
    scene.cluster.members[0].kill_patroni();
    scene.follows(0, fault).await;
    let later = Instant::now();
    sleep(Duration::from_secs(5)).await;
    assert!(scene.pulse.count(0, later) > 50, "it takes writes of whoever knows no better");
    scene.nothing_from(0, later);
    assert_eq!(node(&scene.things.db, "n0").state.name(), "fenced");
    // One that starts now is not led astray either.
    let late = Things { db: connect(scene.cluster.config()).await };
    for _ in 0..20 {
        assert_ne!(late.write_port().await.unwrap() as u16, scene.port(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Patroni and etcd: cargo xtask patroni"]
async fn r02_1_without_etcd_in_failsafe_mode_writes_go_on() {
    let scene = Scene::begin(true).await;
    let failed = scene.served.failures().len();
    scene.cluster.stop_etcd();
    let said =
        async || scene.things.db.status().warnings.iter().any(|warning| warning.contains("cannot reach their store"));
    until("it is said", PATIENCE, said).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(scene.things.db.status().primary.as_deref(), Some("n0"));
    println!("{:?}", scene.things.db.status().warnings);
    scene.cluster.start_etcd();
    until("it is over", PATIENCE, async || !said().await).await;
    assert_eq!(scene.served.failures().len(), failed, "{:?}", scene.served.failures());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Patroni and etcd: cargo xtask patroni"]
async fn r02_1_a_switchover_through_patroni_is_followed() {
    let scene = Scene::begin(true).await;
    let patroni = Patroni::new(&scene.cluster.config().cluster.patroni).unwrap();
    let fault = Instant::now();
    let said = patroni.switchover(Some("n2")).await.unwrap();
    assert!(said.contains("switched over to \"n2\""), "{said}");
    assert_eq!(scene.follows(0, fault).await, 2);
    println!("{} calls failed: {:?}", scene.served.failures().len(), scene.served.failures().first());
    scene.cluster.whole().await;
    let said = patroni.reinitialize("n1").await.unwrap();
    assert!(said.contains("reinitialize started"), "{said}");
    assert!(patroni.reinitialize("n2").await.unwrap_err().to_string().contains("is the leader"));
    scene.cluster.whole().await;
}
