//! Plain connections beside the application: which server takes writes, and from when on.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::NoTls;

use crate::Things;

const PATIENCE: Duration = Duration::from_millis(500);
const BETWEEN: Duration = Duration::from_millis(20);

/// Writes to each of several servers, one after the other, for as long as it lives.
#[derive(Debug)]
pub struct Pulse {
    beats: Arc<Mutex<Vec<(usize, Instant)>>>,
    _tasks: JoinSet<()>,
}

impl Pulse {
    /// Feels all these servers.
    pub fn of(urls: impl IntoIterator<Item = String>) -> Pulse {
        let beats = Arc::<Mutex<Vec<(usize, Instant)>>>::default();
        let mut tasks = JoinSet::new();
        for (node, url) in urls.into_iter().enumerate() {
            let beats = beats.clone();
            tasks.spawn(async move {
                loop {
                    if let Ok(Ok((client, connection))) = timeout(PATIENCE, tokio_postgres::connect(&url, NoTls)).await
                    {
                        let connection = tokio::spawn(connection);
                        let sql = "INSERT INTO pulse DEFAULT VALUES";
                        while let Ok(Ok(_)) = timeout(PATIENCE, client.batch_execute(sql)).await {
                            beats.lock().push((node, Instant::now()));
                            sleep(BETWEEN).await;
                        }
                        connection.abort();
                    }
                    sleep(BETWEEN).await;
                }
            });
        }
        Pulse { beats, _tasks: tasks }
    }

    /// The first write after `since` that another server than `old` took: which one, and when.
    pub fn next_leader(&self, old: usize, since: Instant) -> Option<(usize, Instant)> {
        self.beats.lock().iter().filter(|(node, at)| *node != old && *at > since).min_by_key(|(_, at)| *at).copied()
    }

    /// How many writes this server took after `since`.
    pub fn count(&self, node: usize, since: Instant) -> usize {
        self.beats.lock().iter().filter(|(its, at)| *its == node && *at > since).count()
    }
}

/// A write of the application that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    /// When its call began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// The port of the server that took it.
    pub port: u16,
}

/// The application's writes, by several callers, for as long as it lives.
#[derive(Debug)]
pub struct Served {
    writes: Arc<Mutex<Vec<Write>>>,
    failures: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Served {
    /// Calls that write, one after the other, of so many callers.
    pub fn of(things: &Things, callers: usize) -> Served {
        let (writes, failures) = (Arc::<Mutex<Vec<Write>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let (things, writes, failures) = (things.clone(), writes.clone(), failures.clone());
            tasks.spawn(async move {
                loop {
                    let began = Instant::now();
                    match things.write_port().await {
                        Ok(port) => writes.lock().push(Write { began, ended: Instant::now(), port: port as u16 }),
                        Err(error) => failures.lock().push(error.to_string()),
                    }
                    sleep(Duration::from_millis(5)).await;
                }
            });
        }
        Served { writes, failures, _tasks: tasks }
    }

    /// Those that were served by the server on this port.
    pub fn by(&self, port: u16) -> Vec<Write> {
        self.writes.lock().iter().filter(|write| write.port == port).copied().collect()
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.writes.lock().len()
    }

    /// Why some failed.
    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().clone()
    }
}
