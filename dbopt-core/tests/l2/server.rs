//! A Redis of a test's own, and instances of the layer on it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dbopt_core::cache::l2::{Begun, Config, Event, Fill, Key, Layer, Outcome, Proof, Stored};
use dbopt_core::position::{Lsn, Position};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Nothing here takes that long; a test that does has failed.
pub const PATIENCE: Duration = Duration::from_secs(15);
pub const SHAPE: u64 = 42;

pub struct Server {
    child: Option<Child>,
    port: u16,
    dir: PathBuf,
    options: Vec<String>,
}

impl Server {
    pub async fn start(options: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("dbopt-l2-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { child: None, port: 0, dir, options };
        for _ in 0..5 {
            server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            server.launch();
            if server.answers().await {
                return server;
            }
        }
        panic!("redis-server did not start: is it installed? DBOPT_REDIS_SERVER names its file");
    }

    fn launch(&mut self) {
        let program = std::env::var("DBOPT_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let mut command = Command::new(program);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(&self.dir).args(&self.options).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server can be started"));
    }

    async fn answers(&self) -> bool {
        for _ in 0..400 {
            if timeout(Duration::from_millis(200), self.try_run(&["PING"])).await.is_ok_and(|answer| answer.is_ok()) {
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }

    pub fn config(&self) -> Config {
        let mut config = Config::default();
        config.url = format!("redis://127.0.0.1:{}", self.port);
        // The machine may be busy; what the budgets do is tested where it matters.
        config.timeout = Duration::from_secs(1);
        config.write_timeout = Duration::from_secs(1);
        config.settle = Duration::ZERO;
        config
    }

    pub async fn try_run(&self, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await
    }

    pub async fn run(&self, words: &[&str]) -> redis::Value {
        self.try_run(words).await.unwrap()
    }

    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        redis::from_redis_value(self.run(&["KEYS", pattern]).await).unwrap()
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub async fn restart(&mut self) {
        self.stop();
        self.launch();
        assert!(self.answers().await);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// One application instance.
pub struct Instance {
    pub layer: Layer,
    pub events: UnboundedReceiver<Event>,
    _tasks: JoinSet<()>,
}

impl Instance {
    pub async fn start(config: Config) -> Self {
        let mut instance = Self::unconnected(config);
        instance.expect(Event::Up).await;
        instance
    }

    pub fn unconnected(config: Config) -> Self {
        let (layer, events) = Layer::new(config).unwrap();
        let mut tasks = JoinSet::new();
        for (_, task) in layer.tasks() {
            tasks.spawn(task);
        }
        Self { layer, events, _tasks: tasks }
    }

    /// Waits for an event, past others.
    pub async fn expect(&mut self, wanted: Event) {
        let mut seen = Vec::new();
        let wait = async {
            while let Some(event) = self.events.recv().await {
                if event == wanted {
                    return;
                }
                seen.push(event);
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("{wanted:?} did not come; {seen:?} did");
        }
    }

    /// Begins a fill as a caller does, with a position if one is asked for.
    pub async fn begin(&self, key: &Key, tags: &[String]) -> Fill {
        match self.layer.begin(key, tags, TTL, true, None).await.unwrap() {
            Begun::Ready(fill) => fill,
            Begun::NeedsPosition(proof) => self.begin_at(key, tags, &proof, at(1)).await,
            other => panic!("{other:?}"),
        }
    }

    pub async fn begin_at(&self, key: &Key, tags: &[String], proof: &Proof, position: Position) -> Fill {
        match self.layer.begin(key, tags, TTL, true, Some((proof, position))).await.unwrap() {
            Begun::Ready(fill) => fill,
            other => panic!("{other:?}"),
        }
    }

    pub async fn store(&self, key: &Key, tags: &[String], fill: &Fill, payload: &[u8]) -> Outcome {
        self.layer.store(key, tags, &fill.ticket, SHAPE, payload, None, TTL).await.unwrap()
    }

    pub async fn fill(&self, key: &Key, tags: &[String], payload: &[u8]) {
        let fill = self.begin(key, tags).await;
        assert_eq!(self.store(key, tags, &fill, payload).await, Outcome::Kept);
    }

    pub async fn look_up(&self, key: &Key, tags: &[String]) -> Option<Stored> {
        self.layer.look_up(key, tags, SHAPE, false).await.unwrap()
    }

    pub async fn holds(&self, key: &Key, tags: &[String], payload: &[u8]) -> bool {
        self.look_up(key, tags).await.is_some_and(|stored| stored.payload == payload)
    }
}

pub const TTL: Duration = Duration::from_secs(100);

pub fn tags(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub fn key(name: &str) -> Key {
    Key::explicit(name)
}

pub fn at(lsn: u64) -> Position {
    Position { timeline: 1, lsn: Lsn(lsn) }
}

/// Waits until something holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !check().await {
        assert!(Instant::now() < deadline, "it never came true that {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

impl Server {
    /// Makes the next snapshot of a server with `--dbfilename taken.rdb` fail, and waits until it has.
    pub async fn break_snapshots(&self) {
        // A folder where the file should go: this fails for every user.
        std::fs::create_dir_all(self.dir.join("taken.rdb").join("x")).unwrap();
        self.run(&["BGSAVE"]).await;
        eventually("the snapshot failed", async || {
            let info: String = redis::from_redis_value(self.run(&["INFO", "persistence"]).await).unwrap();
            info.contains("rdb_last_bgsave_status:err")
        })
        .await;
    }
}

/// A way to the server that can be held up, for one instance alone.
pub struct Detour {
    pub url: String,
    held_up: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Detour {
    pub async fn to(server: &Server) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (port, held_up) = (server.port, watch::Sender::new(false));
        let (mut task, holder) = (JoinSet::new(), held_up.clone());
        task.spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                ways.spawn(pass(from_client, to_server, holder.subscribe()));
                ways.spawn(pass(from_server, to_client, holder.subscribe()));
            }
        });
        Self { url, held_up, _task: task }
    }

    pub fn hold_up(&self, held_up: bool) {
        self.held_up.send_replace(held_up);
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut held_up: watch::Receiver<bool>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let _ = held_up.wait_for(|held_up| !held_up).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
