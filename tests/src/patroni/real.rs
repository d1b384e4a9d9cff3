//! The real Patroni: etcd and some members with their servers, on free ports of this machine, gone with the value.
//!
//! They live in a folder of a small cluster of [`dbopt_diesel::dev`], whose guardian ends them, should this process be killed.

use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dbopt_diesel::dev::Cluster;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_postgres::NoTls;

use super::tls;
use super::yml::{Kind, Own, yml};
use crate::until;

const PATIENCE: Duration = Duration::from_secs(90);

/// Where `cargo xtask patroni` has put Patroni.
const SITE: &str = "PATRONI_SITE";

/// Below the ports of outgoing connections, and of the local cluster's.
const PORTS: std::ops::Range<u16> = 10_000..19_000;

/// Credentials of the REST API.
const USER: &str = "padm:pad%40m";

/// etcd, some members, and the cluster whose folder they are in.
pub struct PatroniCluster {
    /// The members: `n0`, `n1` and so on.
    pub members: Vec<Member>,
    /// The authority of their certificates, if they have any.
    pub authority: Option<PathBuf>,
    etcd: Program,
    /// Last: its guardian ends what is left.
    _anchor: Cluster,
}

/// A member: Patroni and the server that it runs.
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its server's port.
    pub port: u16,
    api: u16,
    /// The authority of its certificate, if its REST API speaks TLS.
    authority: Option<PathBuf>,
    home: PathBuf,
    patroni: Program,
}

struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    home: PathBuf,
    site: PathBuf,
    owner: (u32, u32),
    child: Mutex<Option<Child>>,
}

impl Program {
    fn start(&self) {
        let open = |name: &str| {
            let path = self.home.join(name);
            let file = File::options().append(true).create(true).open(&path).expect("a log");
            chown(&path, Some(self.owner.0), Some(self.owner.1)).expect("its owner");
            file
        };
        let mark = open("mark");
        drop(mark);
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).current_dir(&self.home).env("PYTHONPATH", &self.site).env("LC_ALL", "C");
        // By its input, or what it says, the guardian knows it.
        command.stdin(Stdio::from(File::open(self.home.join("mark")).expect("the mark")));
        command.stdout(Stdio::from(open("log"))).stderr(Stdio::from(open("log")));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        if rustix::process::geteuid().is_root() {
            command.uid(self.owner.0).gid(self.owner.1);
        }
        command.process_group(0);
        *self.child.lock() = Some(command.spawn().expect("it starts: cargo xtask patroni installs it"));
    }

    fn pid(&self) -> Option<Pid> {
        self.child.lock().as_ref().map(Pid::from_child)
    }

    fn kill(&self) {
        if let Some(mut child) = self.child.lock().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Member {
    /// The URL of the application's database.
    pub fn url(&self) -> String {
        format!("postgres://postgres:pw@127.0.0.1:{}/postgres", self.port)
    }

    /// The address of its REST API, with credentials.
    pub fn api(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{USER}@127.0.0.1:{}", self.api)
    }

    /// Asks its Patroni.
    pub async fn ask(&self, path: &str) -> Option<Value> {
        let asked = async {
            let stream = TcpStream::connect(("127.0.0.1", self.api)).await.ok()?;
            match &self.authority {
                None => get(stream, path).await,
                Some(authority) => get(tls::client(authority, stream).await?, path).await,
            }
        };
        timeout(Duration::from_secs(2), asked).await.ok().flatten()
    }

    /// What `ALTER SYSTEM` has written on its server.
    pub fn altered(&self) -> String {
        fs::read_to_string(self.home.join("data/postgresql.auto.conf")).unwrap_or_default()
    }

    /// One value, as text.
    pub async fn query(&self, sql: &str) -> Option<String> {
        let asked = async {
            let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.ok()?;
            tokio::spawn(connection);
            client.query_one(&format!("SELECT ({sql})::text"), &[]).await.ok()?.get(0)
        };
        timeout(Duration::from_secs(2), asked).await.ok().flatten()
    }

    /// Kills Patroni alone: its server lives on.
    pub fn kill_patroni(&self) {
        self.patroni.kill();
    }

    /// Starts Patroni again.
    pub fn start_patroni(&self) {
        self.patroni.start();
    }

    /// Kills Patroni and the server, with all its processes.
    pub fn kill(&self) {
        self.patroni.kill();
        self.signal(Signal::KILL, false);
    }

    /// Stops Patroni and the server in their tracks.
    pub fn freeze(&self) {
        self.signal(Signal::STOP, true);
    }

    /// Lets both go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT, true);
    }

    /// The end of what Patroni said.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.home.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// The server, if it runs: the number in its file may be a stranger's by now, who does not work in our folder.
    fn postmaster(&self) -> Option<Pid> {
        let data = self.home.join("data");
        let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let pid: i32 = text.lines().next()?.trim().parse().ok()?;
        let is_ours = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder == data);
        Pid::from_raw(pid).filter(|_| is_ours)
    }

    fn signal(&self, signal: Signal, patroni: bool) {
        let roots = self.postmaster().into_iter().chain(self.patroni.pid().filter(|_| patroni));
        for root in roots {
            // What is forked meanwhile is met in the next round.
            for _ in 0..3 {
                for pid in family(root) {
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }
}

async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> Option<Value> {
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.ok()?;
    let mut text = String::new();
    // Python ends TLS without saying so.
    let _ = stream.read_to_string(&mut text).await;
    serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()
}

/// A process and all that descend from it.
fn family(root: Pid) -> Vec<Pid> {
    let parent = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<i32>().ok()
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let pairs: Vec<(i32, i32)> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![root.as_raw_nonzero().get()];
    let mut next = 0;
    while next < found.len() {
        let of = found[next];
        found.extend(pairs.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
        next += 1;
    }
    found.into_iter().filter_map(Pid::from_raw).collect()
}

impl PatroniCluster {
    /// A leader and members that follow it, with the tables of the tests; `ttl` 20 s, the least that Patroni takes.
    pub async fn start(kind: Kind) -> PatroniCluster {
        let site = std::env::var_os(SITE).map(PathBuf::from);
        let site = site.expect("PATRONI_SITE names the folder of Patroni: cargo xtask patroni runs these tests");
        let anchor = Cluster::builder().replicas(0).redis(false).tls(kind.tls);
        let anchor = anchor.start().await.expect("the local cluster starts");
        let authority = anchor.ca_certificate().map(Path::to_owned);
        let meta = fs::metadata(anchor.dir()).expect("its folder");
        let owner = (meta.uid(), meta.gid());
        let make = |name: &str| {
            let home = anchor.dir().join(name);
            fs::create_dir(&home).expect("a folder");
            fs::set_permissions(&home, Permissions::from_mode(0o700)).expect("its rights");
            chown(&home, Some(owner.0), Some(owner.1)).expect("its owner");
            home
        };
        let program = |path: &str, home: &Path, arguments: Vec<String>| Program {
            path: path.into(),
            arguments,
            home: home.to_owned(),
            site: site.clone(),
            owner,
            child: Mutex::new(None),
        };
        let (client, peer, home) = (port(), port(), make("etcd"));
        let [client_url, peer_url] = [client, peer].map(|port| format!("http://127.0.0.1:{port}"));
        let arguments = format!(
            "--name e0 --data-dir {} --listen-client-urls {client_url} --advertise-client-urls {client_url} --listen-peer-urls {peer_url} \
             --initial-advertise-peer-urls {peer_url} --initial-cluster e0={peer_url} --unsafe-no-fsync",
            home.join("data").display()
        );
        let etcd = program("etcd", &home, arguments.split(' ').map(str::to_owned).collect());
        etcd.start();
        let bin = anchor.binaries().tool("postgres").parent().expect("a folder").to_owned();
        let members = (0..=kind.followers).map(|i| {
            let (name, port, api) = (format!("n{i}"), port(), port());
            let home = make(&name);
            let settings = home.join("patroni.yml");
            let own =
                Own { name: &name, port, api, etcd: client, home: &home, bin: &bin, authority: authority.as_deref() };
            fs::write(&settings, yml(&own, &kind)).expect("the settings");
            chown(&settings, Some(owner.0), Some(owner.1)).expect("their owner");
            let arguments = ["-m", "patroni"].map(str::to_owned).into_iter().chain([settings.display().to_string()]);
            let patroni = program("/usr/bin/python3", &home, arguments.collect());
            Member { name, port, api, authority: authority.clone(), home, patroni }
        });
        let members = members.collect();
        let cluster = PatroniCluster { members, authority, etcd, _anchor: anchor };
        // The first one makes the cluster, so that it is known who leads.
        cluster.members[0].start_patroni();
        let first = &cluster.members[0];
        until("it leads", PATIENCE, async || first.query("NOT pg_is_in_recovery()").await.as_deref() == Some("true"))
            .await;
        cluster.members[1..].iter().for_each(Member::start_patroni);
        cluster.whole().await;
        let (client, connection) = tokio_postgres::connect(&first.url(), NoTls).await.expect("a session");
        tokio::spawn(connection);
        let tables =
            format!("{}; CREATE TABLE pulse (at timestamptz DEFAULT clock_timestamp())", crate::things::SCHEMA);
        client.batch_execute(&tables).await.expect("the tables");
        cluster
    }

    /// Waits until there is a leader and everybody else streams from it.
    pub async fn whole(&self) {
        until("all members stream", PATIENCE, async || {
            let mut streaming = 0;
            for member in &self.members {
                let sql = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'";
                streaming += usize::from(member.query(sql).await.as_deref() == Some("1"));
            }
            streaming == self.members.len() - 1 && self.leader().await.is_some()
        })
        .await;
    }

    /// Who leads, by the word of the first member that answers.
    pub async fn leader(&self) -> Option<usize> {
        for member in &self.members {
            let Some(answer) = member.ask("/cluster").await else { continue };
            let listed = answer["members"].as_array()?;
            let leader = listed.iter().find(|member| member["role"] == "leader")?;
            return self.members.iter().position(|member| leader["name"] == *member.name);
        }
        None
    }

    /// Settings of an application that follows it.
    pub fn config(&self) -> dbopt_diesel::Config {
        let mut config = crate::named(self.members.iter().map(|member| (&member.name, member.url())));
        config.cluster.mode = dbopt_diesel::core::cluster::Mode::Patroni;
        config.cluster.patroni.urls = self.members.iter().map(|member| member.api().as_str().into()).collect();
        if let Some(authority) = &self.authority {
            config.cluster.patroni.sslrootcert = authority.display().to_string();
        }
        config
    }

    /// How many sessions of an application's pools there are on all servers.
    pub async fn sessions(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('dbopt read', 'dbopt write', 'dbopt critical')";
        let mut all = 0;
        for member in &self.members {
            all += member.query(sql).await.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        }
        all
    }

    /// Stops etcd in its tracks.
    pub fn stop_etcd(&self) {
        self.etcd.kill();
    }

    /// Starts it again, with what it had.
    pub fn start_etcd(&self) {
        self.etcd.start();
    }
}

impl Drop for PatroniCluster {
    fn drop(&mut self) {
        for member in &self.members {
            if std::thread::panicking() {
                eprintln!("--- {}:\n{}", member.name, member.log());
            }
            member.thaw();
            member.kill();
        }
        self.etcd.kill();
    }
}

/// A port that nobody listens on.
fn port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(PORTS)).find(free).expect("a free port")
}
