//! `dbopt switchover` through Patroni, whose words are played here: the leader is closed to writes, and never stays so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command;

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use command::dbopt;
use dbopt_diesel::dev::{Cluster, Node};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

const CLOSED: &str = "SELECT current_setting('default_transaction_read_only')";

/// Servers, and a member of Patroni that says of the first one that it leads, and hangs or refuses when it is told otherwise.
struct Scene {
    cluster: Cluster,
    settings: tempfile::NamedTempFile,
    orders: Arc<AtomicUsize>,
}

impl Scene {
    async fn begin(hangs: bool) -> Scene {
        let cluster = Cluster::builder().replicas(1).redis(false).start().await.unwrap();
        let member = |node: &Node, role: &str| serde_json::json!({"name": node.name(), "role": role, "state": "running", "host": "127.0.0.1", "port": node.port()});
        let listed = serde_json::json!({
            "members": [member(cluster.primary(), "leader"), member(cluster.replica(1), "replica")], "scope": "dbopt",
        });
        let orders = Arc::<AtomicUsize>::default();
        let count = orders.clone();
        let app = Router::new().fallback(move |method: Method, uri: Uri| {
            let (listed, count) = (listed.to_string(), count.clone());
            async move {
                if method == Method::POST && uri.path() == "/switchover" {
                    count.fetch_add(1, Ordering::SeqCst);
                    if hangs {
                        std::future::pending::<()>().await;
                    }
                    return (StatusCode::PRECONDITION_FAILED, "leader name does not match".to_owned());
                }
                (StatusCode::OK, listed)
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let patroni = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let scene = Scene { cluster, settings: tempfile::NamedTempFile::new().unwrap(), orders };
        scene.settings(&format!("http://{patroni}"), |node| node.url());
        scene
    }

    fn settings(&self, patroni: &str, url: impl Fn(&Node) -> String) {
        let mut text = format!("[cluster]\nmode = \"patroni\"\n[cluster.patroni]\nurls = [{patroni:?}]\n");
        for node in self.cluster.nodes() {
            text += &format!("[[database.nodes]]\nname = {:?}\nurl = {:?}\n", node.name(), url(node));
        }
        std::fs::write(self.settings.path(), text).unwrap();
    }

    /// Other URLs of the servers.
    fn as_role(&self, role: &str) {
        let text = std::fs::read_to_string(self.settings.path()).unwrap();
        let patroni = text.split("urls = [\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        self.settings(&patroni, |node| format!("postgres://{role}@127.0.0.1:{}/postgres", node.port()));
    }

    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let config = self.settings.path().to_str().unwrap();
        dbopt(&[("DBOPT_CONFIG", config)], ["switchover"].iter().chain(arguments).copied()).await
    }

    fn spawn(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dbopt"));
        command.arg("switchover").env("DBOPT_CONFIG", self.settings.path()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    async fn is_closed(&self) -> bool {
        self.cluster.primary().query_text(CLOSED).await.unwrap().as_deref() == Some("on")
    }

    /// Until the order was given, which is when the leader is closed.
    async fn ordered(&self) {
        until("the order is given", async || self.orders.load(Ordering::SeqCst) > 0).await;
        assert!(self.is_closed().await);
        let file = self.cluster.primary().query_text("SELECT pg_read_file('postgresql.auto.conf')").await.unwrap();
        assert!(!file.unwrap().contains("read_only"), "a restart would bring it back");
    }

    async fn opens(&self) {
        until("it takes writes", async || !self.is_closed().await).await;
        let sessions = "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'dbopt supervise'";
        until("nothing is left", async || {
            self.cluster.primary().query_text(sessions).await.unwrap().as_deref() == Some("0")
        })
        .await;
    }
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < give_up, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_opens_by_itself_when_the_command_is_killed() {
    let scene = Scene::begin(true).await;
    let mut child = scene.spawn();
    scene.ordered().await;
    child.kill().await.unwrap();
    scene.opens().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_opens_by_itself_when_the_command_freezes() {
    let scene = Scene::begin(true).await;
    let child = scene.spawn();
    scene.ordered().await;
    let pid = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    scene.opens().await;
    kill_process(pid, Signal::CONT).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_opens_when_patroni_does_not_stop_it() {
    let scene = Scene::begin(true).await;
    let _child = scene.spawn();
    scene.ordered().await;
    until("it takes writes", async || !scene.is_closed().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_leaves_the_leader_open() {
    let scene = Scene::begin(false).await;
    let (code, out, err) = scene.run(&[]).await;
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.contains("Patroni refuses (412): leader name does not match"), "{err}");
    assert!(!err.contains("not closed beforehand"), "{err}");
    scene.opens().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rights_it_is_done_all_the_same_and_said() {
    let scene = Scene::begin(false).await;
    let primary = scene.cluster.primary();
    primary.execute("CREATE ROLE nobody LOGIN").await.unwrap();
    scene.as_role("nobody");
    let (_, _, err) = scene.run(&[]).await;
    for lacks in
        ["not closed beforehand", "ALTER SYSTEM on default_transaction_read_only", "pg_reload_conf()", "--grants"]
    {
        assert!(err.contains(lacks), "{lacks}: {err}");
    }
    assert_eq!(scene.orders.load(Ordering::SeqCst), 1, "{err}");

    let (code, grants, _) = scene.run(&["--grants", "operator"]).await;
    assert_eq!(code, Some(0));
    let statements: Vec<&str> = grants.lines().filter(|line| !line.starts_with(['-', '\\'])).collect();
    primary.execute(&statements.join("\n")).await.unwrap();
    scene.cluster.wait_caught_up(Duration::from_secs(10)).await.unwrap();
    scene.as_role("operator");
    let (_, _, err) = scene.run(&[]).await;
    assert!(!err.contains("not closed beforehand") && err.contains("(412)"), "{err}");
    assert!(!err.contains("no checkpoint"), "{err}");
    scene.opens().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_closed_is_said_and_opened_on_demand() {
    let scene = Scene::begin(false).await;
    for node in scene.cluster.nodes() {
        node.execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
        node.execute("SELECT pg_reload_conf()").await.unwrap();
    }
    until("it is closed", async || scene.is_closed().await).await;
    let (code, _, err) = scene.run(&[]).await;
    assert!(
        code == Some(1) && err.contains("primary is closed to writes") && err.contains("dbopt switchover --open"),
        "{err}"
    );
    assert_eq!(scene.orders.load(Ordering::SeqCst), 0);
    let (code, out, err) = scene.run(&["--open"]).await;
    assert_eq!((code, out.lines().count()), (Some(0), 2), "{out}{err}");
    assert!(out.contains("primary is open to writes again"), "{out}");
    scene.opens().await;
    let (code, out, _) = scene.run(&["--open"]).await;
    assert_eq!((code, out.trim()), (Some(0), "no server is closed to writes"));
}
