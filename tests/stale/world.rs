//! The servers and the processes, as the coordinator holds them.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, Result};
use dbopt_diesel::dev::{Cluster, Proxy, Redis};
use fastrand::Rng;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::registers::SCHEMA;
use super::worker::{Figures, Order, Report, Setup};

/// What the processes have in common.
pub(crate) struct Plan {
    pub(crate) processes: usize,
    pub(crate) callers: usize,
    pub(crate) keys: u32,
    pub(crate) pace: u64,
    pub(crate) settle: u64,
    pub(crate) seed: u64,
    pub(crate) baseline: bool,
}

/// The servers and the processes.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) seats: Vec<Seat>,
    /// One fault at a time may touch Redis' data on disk.
    pub(crate) disk: tokio::sync::Mutex<()>,
    plan: Plan,
    histories: PathBuf,
    processes: AtomicU32,
    moves: mpsc::UnboundedSender<(usize, Report)>,
}

/// A place for a process, with its own way to Redis.
pub(crate) struct Seat {
    pub(crate) proxy: Proxy,
    child: tokio::sync::Mutex<Option<Child>>,
    orders: Mutex<Option<mpsc::UnboundedSender<String>>>,
    figures: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    /// Of processes that are gone.
    before: Figures,
    now: Figures,
}

impl World {
    /// Starts everything.
    pub(crate) async fn start(plan: Plan, histories: PathBuf) -> Result<Arc<World>> {
        let cluster = Cluster::builder().replicas(3).start().await?;
        cluster.primary().execute(SCHEMA).await?;
        let rows = format!("INSERT INTO registers SELECT id, 0 FROM generate_series(0, {}) AS id", plan.keys - 1);
        cluster.primary().execute(&rows).await?;
        cluster.wait_caught_up(Duration::from_secs(10)).await?;
        let port = cluster.redis().context("a cluster with Redis")?.port();
        let mut seats = Vec::new();
        for _ in 0..plan.processes {
            let proxy = Proxy::start(([127, 0, 0, 1], port).into()).await?;
            seats.push(Seat { proxy, child: Default::default(), orders: Mutex::default(), figures: Mutex::default() });
        }
        let (moves, messages) = mpsc::unbounded_channel();
        let world =
            World { cluster, seats, disk: Default::default(), plan, histories, processes: AtomicU32::new(0), moves };
        let world = Arc::new(world);
        tokio::spawn(pass_on(Arc::downgrade(&world), messages));
        for seat in 0..world.seats.len() {
            world.spawn(seat).await?;
        }
        Ok(world)
    }

    pub(crate) fn redis(&self) -> Result<&Redis> {
        self.cluster.redis().context("a cluster with Redis")
    }

    /// Puts a new process into a seat.
    pub(crate) async fn spawn(&self, number: usize) -> Result<()> {
        let process = self.processes.fetch_add(1, Relaxed) + 1;
        let seat = &self.seats[number];
        let setup = Setup {
            process,
            seed: self.plan.seed.wrapping_add(u64::from(process)),
            callers: self.plan.callers,
            keys: self.plan.keys,
            pace: self.plan.pace,
            settle: self.plan.settle,
            nodes: self.cluster.nodes().iter().map(|node| node.url()).collect(),
            redis: format!("redis://127.0.0.1:{}", seat.proxy.port()),
            baseline: self.plan.baseline,
            journal: self.histories.join(process.to_string()),
        };
        let program = std::env::current_exe()?;
        let mut child = Command::new(program)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start a process")?;
        let (stdin, stdout) = (child.stdin.take().context("its input")?, child.stdout.take().context("its output")?);
        let (orders, lines) = mpsc::unbounded_channel();
        orders.send(serde_json::to_string(&setup)?)?;
        tokio::spawn(write(stdin, lines));
        tokio::spawn(read(number, stdout, self.moves.clone()));
        *seat.orders.lock() = Some(orders);
        *seat.child.lock().await = Some(child);
        Ok(())
    }

    /// SIGKILL.
    pub(crate) async fn kill(&self, number: usize) -> Result<()> {
        let seat = &self.seats[number];
        *seat.orders.lock() = None;
        if let Some(mut child) = seat.child.lock().await.take() {
            child.kill().await?;
        }
        let mut figures = seat.figures.lock();
        let last = std::mem::take(&mut figures.now);
        figures.before = figures.before.plus(&last);
        Ok(())
    }

    /// Lets every process end in order; says how many had to be killed.
    pub(crate) async fn end(&self) -> Result<usize> {
        self.tell(&Order::End);
        let mut stuck = 0;
        for seat in &self.seats {
            let Some(mut child) = seat.child.lock().await.take() else { continue };
            let ended = timeout(Duration::from_secs(45), child.wait()).await;
            if !matches!(ended, Ok(Ok(status)) if status.success()) {
                stuck += 1;
                child.kill().await?;
            }
        }
        Ok(stuck)
    }

    /// Tells every process.
    pub(crate) fn tell(&self, order: &Order) {
        self.seats.iter().for_each(|seat| seat.tell(order));
    }

    /// What all processes together did so far.
    pub(crate) fn figures(&self) -> Figures {
        let all = self.seats.iter().map(|seat| {
            let figures = seat.figures.lock();
            figures.before.plus(&figures.now)
        });
        all.fold(Figures::default(), |sum, one| sum.plus(&one))
    }

    /// Runs a command on Redis, past the proxies; gives up after a second.
    pub(crate) async fn redis_command(&self, words: &[&str]) -> Result<redis::Value> {
        let client = redis::Client::open(self.redis()?.direct_url())?;
        let run = async {
            let mut connection = client.get_multiplexed_async_connection().await?;
            let mut command = redis::cmd(words[0]);
            command.arg(&words[1..]);
            command.query_async(&mut connection).await
        };
        Ok(timeout(Duration::from_secs(1), run).await??)
    }

    /// The same until it has worked: Redis may be busy with another fault.
    pub(crate) async fn insist(&self, words: &[&str]) -> Result<()> {
        let mut tries = 0;
        while let Err(error) = self.redis_command(words).await {
            tries += 1;
            if tries == 100 {
                return Err(error.context(format!("Redis does not take {words:?}")));
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

impl Seat {
    fn tell(&self, order: &Order) {
        if let (Some(orders), Ok(line)) = (&*self.orders.lock(), serde_json::to_string(order)) {
            // A process that was killed hears nothing.
            let _ = orders.send(line);
        }
    }
}

impl Figures {
    fn combined(&self, other: &Figures, with: impl Fn(u64, u64) -> u64) -> Figures {
        Figures {
            operations: with(self.operations, other.operations),
            l1_hits: with(self.l1_hits, other.l1_hits),
            l2_hits: with(self.l2_hits, other.l2_hits),
            reads: std::array::from_fn(|way| with(self.reads[way], other.reads[way])),
            bodies: std::array::from_fn(|way| with(self.bodies[way], other.bodies[way])),
            missed: with(self.missed, other.missed),
            fenced: with(self.fenced, other.fenced),
        }
    }

    pub(crate) fn plus(&self, other: &Figures) -> Figures {
        self.combined(other, |one, other| one + other)
    }

    pub(crate) fn since(&self, earlier: &Figures) -> Figures {
        self.combined(earlier, u64::saturating_sub)
    }
}

/// Contexts move to another process, whichever; figures are noted.
async fn pass_on(world: std::sync::Weak<World>, mut messages: mpsc::UnboundedReceiver<(usize, Report)>) {
    let mut rng = Rng::new();
    while let Some((from, message)) = messages.recv().await {
        let Some(world) = world.upgrade() else { return };
        match message {
            Report::Moves { context, token } => {
                let others: Vec<&Seat> =
                    world.seats.iter().enumerate().filter(|(seat, _)| *seat != from).map(|(_, seat)| seat).collect();
                if let Some(seat) = rng.choice(others) {
                    seat.tell(&Order::Continue { context, token });
                }
            }
            Report::Figures(figures) => {
                let mut tally = world.seats[from].figures.lock();
                // A last word of a process that was killed since.
                if figures.operations >= tally.now.operations {
                    tally.now = figures;
                }
            }
        }
    }
}

async fn write(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(mut line) = lines.recv().await {
        line.push('\n');
        if stdin.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(seat: usize, stdout: ChildStdout, messages: mpsc::UnboundedSender<(usize, Report)>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(message) = serde_json::from_str(&line) {
            let _ = messages.send((seat, message));
        }
    }
}
