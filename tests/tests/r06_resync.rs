//! R6.5: a replica that fell behind, or has another history, is brought back from the primary by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::sync::Arc;
use std::time::Duration;

use dbopt_diesel::core::failover::Place;
use dbopt_diesel::core::secret::Secret;
use dbopt_diesel::dev::{Binaries, Cluster, LocalAgent, Node};
use dbopt_diesel::supervise::{AgentClient, Machine, NodeAgent, Rejoin, Way, agent_router};
use dbopt_tests::supervised::{AtWork, supervisor, whole};
use dbopt_tests::{prepared, until};
use tempfile::TempDir;
use tokio::task::JoinHandle;

const TOKEN: &str = "a token of the tests";
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent that listens, until it is dropped.
struct Listening {
    url: String,
    task: JoinHandle<()>,
}

impl Listening {
    async fn begin(agent: Arc<dyn NodeAgent>) -> Listening {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = agent_router(agent, Secret::new(TOKEN));
        Listening { url, task: tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }) }
    }

    fn client(&self, nodes: &[&str], token: &str) -> AgentClient {
        AgentClient::new(nodes.iter().map(|node| (node.to_string(), self.url.clone())), Secret::new(token)).unwrap()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_5_a_replica_whose_log_the_primary_has_no_more_is_copied_anew_by_itself() {
    let builder = Cluster::builder().replicas(2).redis(false).setting("wal_keep_size", "0");
    let cluster = Arc::new(prepared(builder.setting("max_slot_wal_keep_size", "16MB")).await);
    let primary = cluster.primary();
    primary.execute("CREATE TABLE missed (id int)").await.unwrap();
    cluster.replica(2).kill().await.unwrap();
    until("its log is gone", PATIENCE, async || {
        primary.execute("INSERT INTO missed SELECT generate_series(1, 1000)").await.unwrap();
        primary.execute("SELECT pg_switch_wal()").await.unwrap();
        primary.execute("CHECKPOINT").await.unwrap();
        let lost = "SELECT string_agg(slot_name, ',') FROM pg_replication_slots WHERE wal_status = 'lost'";
        primary.query_text(lost).await.unwrap().is_some()
    })
    .await;
    cluster.replica(2).start().await.unwrap();

    let names: Vec<&str> = cluster.nodes().iter().map(Node::name).collect();
    let listening = Listening::begin(Arc::new(LocalAgent::new(cluster.clone()))).await;
    let supervisor = supervisor(&cluster, false).with_agent(Arc::new(listening.client(&names, TOKEN)));
    let _at_work = AtWork::begin(supervisor);
    whole(&cluster, 1).await;
    cluster.wait_caught_up(PATIENCE).await.unwrap();
    let count = "SELECT count(*) FROM missed";
    assert_eq!(cluster.replica(2).query_text(count).await.unwrap(), primary.query_text(count).await.unwrap());
}

/// A server outside of the cluster, reached by PostgreSQL's own programs.
struct Apart {
    folder: TempDir,
    machine: Machine,
    port: u16,
    leader: Place,
}

impl Apart {
    fn of(leader: &Node) -> Apart {
        let folder = tempfile::tempdir().unwrap();
        let owner = std::fs::metadata(leader.data_dir()).unwrap();
        // Servers of a local cluster have their settings there; the port is another one.
        let settings = folder.path().join("node.conf");
        std::fs::copy(leader.data_dir().with_file_name("node.conf"), &settings).unwrap();
        for path in [folder.path(), &settings] {
            if owner.uid() != std::fs::metadata(path).unwrap().uid() {
                chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
            }
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (data, programs) = (folder.path().join("data"), Binaries::find().unwrap().postgres_dir);
        let shown = [programs.display(), data.display(), folder.path().display()].map(|path| path.to_string());
        let mut machine = Machine::new("apart", data);
        machine.start = Some(format!(
            "{0}/pg_ctl -w -s -D {1} -l {2}/log -o '-p {port} -k \"\"' start",
            shown[0], shown[1], shown[2]
        ));
        machine.programs = Some(programs);
        if rustix::process::geteuid().is_root() {
            let words = format!("setpriv --reuid={} --regid={} --clear-groups", owner.uid(), owner.gid());
            machine.through = words.split(' ').map(str::to_owned).collect();
        }
        Apart { folder, machine, port, leader: Place { host: "127.0.0.1".into(), port: leader.port() } }
    }

    fn order(&self) -> Rejoin {
        Rejoin {
            node: "apart".into(),
            leader: self.leader.clone(),
            conninfo: format!("host=127.0.0.1 port={} user=postgres application_name=apart", self.leader.port),
            slot: "apart".into(),
            fell_behind: false,
        }
    }

    async fn ask(&self, sql: &str) -> String {
        let url = format!("postgres://postgres@127.0.0.1:{}/app", self.port);
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        let answer = client.query_one(sql, &[]).await.unwrap().get::<_, String>(0);
        drop(client);
        driver.await.unwrap().unwrap();
        answer
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
        let pid = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
        if let Some(pid) = pid.lines().next().and_then(|pid| pid.parse().ok()).and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_5_an_agent_beside_a_server_copies_restarts_and_rewinds_it() {
    let cluster = prepared(Cluster::builder().replicas(1).redis(false)).await;
    let primary = cluster.primary();
    primary
        .execute("CREATE TABLE told (word text); SELECT pg_create_physical_replication_slot('apart', true)")
        .await
        .unwrap();
    let apart = Apart::of(primary);
    assert_eq!(apart.machine.check().await, Vec::<String>::new());
    let listening = Listening::begin(Arc::new(apart.machine.clone())).await;
    let agent = listening.client(&["apart", "other"], TOKEN);
    let words = "SELECT coalesce(string_agg(word, ',' ORDER BY word), '') FROM told";

    assert_eq!(agent.rejoin(apart.order()).await.unwrap(), Way::Copied);
    assert_eq!(agent.rejoin(apart.order()).await.unwrap(), Way::Restarted);

    // It goes another way than the primary: what it says alone has to go.
    apart.ask("SELECT pg_promote()::text").await;
    apart.ask("WITH new AS (INSERT INTO told VALUES ('alone') RETURNING word) SELECT word FROM new").await;
    primary.execute("INSERT INTO told VALUES ('together')").await.unwrap();
    assert_eq!(agent.rejoin(apart.order()).await.unwrap(), Way::Rewound);
    until("it follows", PATIENCE, async || apart.ask(words).await == "together").await;

    let twice = tokio::join!(
        agent.rejoin(Rejoin { fell_behind: true, ..apart.order() }),
        agent.rejoin(Rejoin { fell_behind: true, ..apart.order() })
    );
    let (done, refused) = if twice.0.is_ok() { twice } else { (twice.1, twice.0) };
    assert_eq!(done.unwrap(), Way::Copied);
    assert!(refused.unwrap_err().to_string().contains("at work already"));
    assert!(!apart.folder.path().join("data.before").exists());

    // Nothing is done that was not ordered rightly.
    let started = apart.ask("SELECT pg_postmaster_start_time()::text").await;
    let stranger = listening.client(&["apart"], "a token of others..").rejoin(apart.order()).await.unwrap_err();
    assert!(stranger.to_string().contains("token"), "{stranger}");
    let elsewhere = agent.rejoin(Rejoin { node: "other".into(), ..apart.order() }).await.unwrap_err();
    assert!(elsewhere.to_string().contains("not the agent of other"), "{elsewhere}");
    let replica = Place { host: "127.0.0.1".into(), port: cluster.replica(1).port() };
    let below = agent.rejoin(Rejoin { leader: replica, ..apart.order() }).await.unwrap_err();
    assert!(below.to_string().contains("is no primary"), "{below}");
    assert_eq!(apart.ask("SELECT pg_postmaster_start_time()::text").await, started);
}
