//! A switchover through Patroni, whose words are played here: the leader is closed to writes, and never stays so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Stdio;
use std::time::Duration;

use dbopt_diesel::Config;
use dbopt_diesel::core::cluster::Mode;
use dbopt_diesel::dev::{Cluster, Node};
use dbopt_diesel::supervise::{PatroniSwitchover, switchover_grants};
use dbopt_tests::patroni::{Played, listed};
use dbopt_tests::{cluster, named, until};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(20);
const CLOSED: &str = "SELECT current_setting('default_transaction_read_only')";

/// Where the process that is killed finds the servers and the member.
const OF_THE_CHILD: &str = "DBOPT_TESTS_SWITCHOVER";

/// Servers, and a member of Patroni that says of the first one that it leads, and hangs or refuses when it is told otherwise.
struct Scene {
    cluster: Cluster,
    patroni: Played,
}

impl Scene {
    async fn begin(hangs: bool) -> Scene {
        let (cluster, patroni) = (cluster(1).await, Played::start().await);
        patroni.says("/cluster", 200, listed(&cluster, Some(0), &[&patroni]));
        patroni.says("/switchover", 412, "leader name does not match");
        if hangs {
            patroni.hangs_at("/switchover");
        }
        Scene { cluster, patroni }
    }

    /// Settings for the servers, as this role if not as their owner.
    fn config(&self, role: Option<&str>) -> Config {
        let url = |node: &Node| match role {
            Some(role) => format!("postgres://{role}@127.0.0.1:{}/postgres", node.port()),
            None => node.url(),
        };
        following(self.cluster.nodes().iter().map(|node| (node.name().to_owned(), url(node))), &self.patroni.url())
    }

    fn switchover(&self, role: Option<&str>) -> PatroniSwitchover {
        PatroniSwitchover::new(&self.config(role)).unwrap()
    }

    /// A switchover by another process.
    fn spawn(&self) -> Child {
        let nodes = self.cluster.nodes().iter().map(|node| format!("{} {}", node.name(), node.url()));
        let told = std::iter::once(self.patroni.url()).chain(nodes).collect::<Vec<_>>().join("\n");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "a_process_of_its_own"]).env(OF_THE_CHILD, told).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn orders(&self) -> usize {
        self.patroni.asked().iter().filter(|asked| asked.what == "POST /switchover").count()
    }

    async fn is_closed(&self) -> bool {
        self.cluster.primary().query_text(CLOSED).await.unwrap().as_deref() == Some("on")
    }

    /// Until the order was given, which is when the leader is closed.
    async fn ordered(&self) {
        until("the order is given", PATIENCE, async || self.orders() > 0).await;
        assert!(self.is_closed().await);
        let file = self.cluster.primary().query_text("SELECT pg_read_file('postgresql.auto.conf')").await.unwrap();
        assert!(!file.unwrap().contains("read_only"), "a restart would bring it back");
    }

    async fn opens(&self) {
        until("it takes writes", PATIENCE, async || !self.is_closed().await).await;
        let sessions = "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'dbopt supervise'";
        until("nothing is left", PATIENCE, async || {
            self.cluster.primary().query_text(sessions).await.unwrap().as_deref() == Some("0")
        })
        .await;
    }
}

fn following(nodes: impl IntoIterator<Item = (String, String)>, patroni: &str) -> Config {
    let mut config = named(nodes);
    config.cluster.mode = Mode::Patroni;
    config.cluster.patroni.urls = vec![patroni.into()];
    config
}

/// Not a test: what the others kill and freeze.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by other tests"]
async fn a_process_of_its_own() {
    let Ok(told) = std::env::var(OF_THE_CHILD) else { return };
    let (patroni, nodes) = told.split_once('\n').unwrap();
    let nodes = nodes.lines().map(|line| line.split_once(' ').unwrap()).map(|(name, url)| (name.into(), url.into()));
    let _ = PatroniSwitchover::new(&following(nodes, patroni)).unwrap().run(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_opens_by_itself_when_whoever_closed_it_is_killed() {
    let scene = Scene::begin(true).await;
    let mut child = scene.spawn();
    scene.ordered().await;
    child.kill().await.unwrap();
    scene.opens().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_opens_by_itself_when_whoever_closed_it_freezes() {
    let scene = Scene::begin(true).await;
    let child = scene.spawn();
    scene.ordered().await;
    let pid = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    until("it takes writes", PATIENCE, async || !scene.is_closed().await).await;
    // What it holds open, it holds until it goes on or ends.
    kill_process(pid, Signal::CONT).unwrap();
    drop(child);
    scene.opens().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_opens_when_patroni_does_not_stop_it() {
    let scene = Scene::begin(true).await;
    let mut switchover = scene.switchover(None);
    tokio::select! {
        _ = switchover.run(None) => panic!("nobody answers"),
        () = async {
            scene.ordered().await;
            until("it takes writes", PATIENCE, async || !scene.is_closed().await).await;
        } => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_opens_when_nobody_waits_for_the_switchover_any_more() {
    let scene = Scene::begin(true).await;
    let mut switchover = scene.switchover(None);
    tokio::select! {
        _ = switchover.run(None) => panic!("nobody answers"),
        () = scene.ordered() => {}
    }
    drop(switchover);
    scene.opens().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_leaves_the_leader_open() {
    let scene = Scene::begin(false).await;
    let error = scene.switchover(None).run(None).await.unwrap_err().to_string();
    assert_eq!(error, "Patroni refuses (412): leader name does not match");
    assert!(!scene.is_closed().await);
    scene.opens().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_rights_it_is_done_all_the_same_and_said() {
    let scene = Scene::begin(false).await;
    let primary = scene.cluster.primary();
    primary.execute("CREATE ROLE nobody LOGIN").await.unwrap();
    promotes(&scene).await;
    let done = scene.switchover(Some("nobody")).run(None).await.unwrap();
    assert_eq!(&*done.to, "replica-1");
    let why = done.unprepared.unwrap();
    for lacks in ["ALTER SYSTEM on default_transaction_read_only", "pg_reload_conf()", "pg_monitor", "--grants"] {
        assert!(why.contains(lacks), "{lacks}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_rights_that_are_printed_it_is_prepared() {
    let scene = Scene::begin(false).await;
    let grants = switchover_grants("operator");
    let statements: Vec<&str> = grants.lines().filter(|line| !line.starts_with(['-', '\\'])).collect();
    // Rights on functions belong to a database.
    let (client, connection) =
        tokio_postgres::connect(&scene.cluster.primary().url_for("postgres"), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(&statements.join("\n")).await.unwrap();
    scene.cluster.wait_caught_up(Duration::from_secs(10)).await.unwrap();
    promotes(&scene).await;
    let done = scene.switchover(Some("operator")).run(None).await.unwrap();
    assert_eq!((&*done.to, done.unprepared), ("replica-1", None));
}

/// From now on the order is obeyed: by the time that it is answered the other one is the primary.
async fn promotes(scene: &Scene) {
    let url = scene.cluster.replica(1).url();
    scene.patroni.says("/switchover", 200, "Successfully switched over");
    scene.patroni.on("/switchover", move || {
        let url = url.clone();
        async move {
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute("SELECT pg_promote()").await.unwrap();
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_closed_is_said_and_opened_on_demand() {
    let scene = Scene::begin(false).await;
    for node in scene.cluster.nodes() {
        node.execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
        node.execute("SELECT pg_reload_conf()").await.unwrap();
    }
    until("it is closed", PATIENCE, async || scene.is_closed().await).await;
    let mut switchover = scene.switchover(None);
    let error = switchover.run(None).await.unwrap_err().to_string();
    assert!(error.contains("primary is closed to writes") && error.contains("dbopt switchover --open"), "{error}");
    assert_eq!(scene.orders(), 0);
    let opened = switchover.open().await;
    assert!(opened.len() == 2 && opened.iter().all(|(_, outcome)| outcome.is_ok()), "{opened:?}");
    assert!(!scene.is_closed().await);
    assert!(switchover.open().await.is_empty());
}
