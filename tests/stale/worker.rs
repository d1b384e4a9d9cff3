//! One process: many callers that write and read registers at random, and note what they were told.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dbopt_diesel::{Config, Context, Db, Token};
use fastrand::Rng;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, Stdin};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep, timeout};

use super::baseline::{self, Plain};
use super::history::{Journal, Method, Record, now};
use super::registers::{BODIES, Registers, SLOW};

/// Contexts that several callers of a process share at most.
const SHARED: usize = 12;
/// Registers that most operations are about.
const HOT: u32 = 4;

/// Everything runs on one machine, which is never idle: what is late here is not slow.
const TIMEOUTS: &str = "timeout = \"25ms\"\nwrite_timeout = \"100ms\"\n";

/// The first line a worker is sent.
#[derive(Serialize, Deserialize, Clone)]
pub(crate) struct Setup {
    pub(crate) process: u32,
    pub(crate) seed: u64,
    pub(crate) callers: usize,
    pub(crate) keys: u32,
    /// The longest pause of a caller between two operations, in milliseconds.
    pub(crate) pace: u64,
    /// How long strong readers distrust a Redis that lost its data, in milliseconds. No fault lasts longer, so it can be short.
    pub(crate) settle: u64,
    /// The servers, the primary first.
    pub(crate) nodes: Vec<String>,
    pub(crate) redis: String,
    pub(crate) baseline: bool,
    pub(crate) journal: PathBuf,
}

/// What is sent to a worker afterwards, a line each.
#[derive(Serialize, Deserialize, Clone)]
pub(crate) enum Order {
    /// A context that another process began, with its token.
    Continue { context: u64, token: String },
    /// Of a thousand reads of the database, so many are slow from now on.
    Slow(u32),
    /// Enough.
    End,
}

/// What a worker says, a line each.
#[derive(Serialize, Deserialize)]
pub(crate) enum Report {
    /// A context goes on elsewhere.
    Moves { context: u64, token: String },
    /// Where it stands.
    Figures(Figures),
}

/// What a process did so far.
#[derive(Serialize, Deserialize, Default, Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) operations: u64,
    pub(crate) l1_hits: u64,
    pub(crate) l2_hits: u64,
    /// Of each way to read: how often it was called.
    pub(crate) reads: [u64; Method::READS],
    /// And how often that read the database.
    pub(crate) bodies: [u64; Method::READS],
    /// Invalidations that Redis did not take at once.
    pub(crate) missed: u64,
    /// Results that were not stored because of an invalidation.
    pub(crate) fenced: u64,
}

enum Store {
    Dbopt(Registers),
    Plain(Box<Plain>),
}

#[derive(Clone)]
struct Session {
    number: u64,
    context: Context,
    /// Only then may it move: a token tells nothing of what other callers write afterwards.
    alone: bool,
}

struct Worker {
    setup: Setup,
    store: Store,
    journal: Journal,
    shared: Mutex<Vec<Session>>,
    /// Contexts that came from other processes and wait for a caller.
    arrived: Mutex<Vec<Session>>,
    numbers: AtomicU64,
    operations: AtomicU64,
    reads: [AtomicU64; Method::READS],
    reports: mpsc::UnboundedSender<Report>,
    ending: watch::Sender<bool>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs until it is told to end, or its input ends.
pub(crate) async fn run() -> Result<(), Failure> {
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let setup: Setup = serde_json::from_str(&orders.next_line().await?.ok_or("no setup")?)?;
    let (reports, outbox) = mpsc::unbounded_channel();
    let worker = Arc::new(Worker {
        store: connect(&setup).await?,
        journal: Journal::create(&setup.journal)?,
        shared: Mutex::default(),
        arrived: Mutex::default(),
        numbers: AtomicU64::new(u64::from(setup.process) << 32),
        operations: AtomicU64::new(0),
        reads: Default::default(),
        reports,
        ending: watch::Sender::new(false),
        setup,
    });
    let speaking = tokio::spawn(speak(outbox));
    let mut seeds = Rng::with_seed(worker.setup.seed);
    let callers: Vec<_> = (0..worker.setup.callers)
        .map(|_| tokio::spawn(call_on(worker.clone(), Rng::with_seed(seeds.u64(..)))))
        .collect();
    let reporting = tokio::spawn(report_on(worker.clone()));
    follow(&worker, &mut orders).await;
    worker.ending.send_replace(true);
    for caller in callers {
        caller.await?;
    }
    reporting.abort();
    if let Store::Dbopt(registers) = &worker.store {
        registers.db.shutdown().await;
    }
    worker.report();
    drop(worker);
    Ok(timeout(Duration::from_secs(1), speaking).await.unwrap_or(Ok(()))?)
}

async fn connect(setup: &Setup) -> Result<Store, Failure> {
    if setup.baseline {
        return Ok(Store::Plain(Box::new(Plain::connect(&setup.nodes, &setup.redis).await?)));
    }
    let mut text = format!("[cache]\nredis = {:?}\n{TIMEOUTS}", setup.redis);
    text.push_str(&format!("vouch_settle = \"{0}ms\"\nvouch_memory = \"{0}ms\"\n", setup.settle));
    text.push_str("[pool]\nmax = 32\nbackoff_initial = \"100ms\"\n[call]\ntimeout = \"10s\"\n");
    for (number, url) in setup.nodes.iter().enumerate() {
        text.push_str(&format!("[[database.nodes]]\nname = \"node-{number}\"\nurl = {url:?}\n"));
    }
    let db = Db::connect(Config::from_toml(&text)?).await?;
    // As a service that is not ready before its cache is.
    for _ in 0..200 {
        if db.cache().status().redis == "up" {
            break;
        }
        sleep(Duration::from_millis(25)).await;
    }
    Ok(Store::Dbopt(Registers { db }))
}

async fn follow(worker: &Worker, orders: &mut Lines<BufReader<Stdin>>) {
    while let Ok(Some(line)) = orders.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Order::Continue { context: number, token }) => {
                if let Ok(token) = token.parse::<Token>() {
                    let context = Context::anonymous().with_token(token);
                    worker.arrived.lock().push(Session { number, context, alone: true });
                }
            }
            Ok(Order::Slow(share)) => SLOW.store(share, Relaxed),
            Ok(Order::End) | Err(_) => return,
        }
    }
}

async fn speak(mut outbox: mpsc::UnboundedReceiver<Report>) {
    let mut out = tokio::io::stdout();
    while let Some(report) = outbox.recv().await {
        let Ok(mut line) = serde_json::to_string(&report) else { continue };
        line.push('\n');
        if out.write_all(line.as_bytes()).await.is_err() || out.flush().await.is_err() {
            return;
        }
    }
}

async fn report_on(worker: Arc<Worker>) {
    let mut ticks = interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        worker.report();
    }
}

async fn call_on(worker: Arc<Worker>, mut rng: Rng) {
    while !*worker.ending.borrow() {
        let session = worker.session(&mut rng);
        for _ in 0..rng.u32(1..16) {
            worker.operate(&mut rng, session.as_ref()).await;
            sleep(Duration::from_millis(rng.u64(0..=worker.setup.pace))).await;
        }
        let Some(session) = session.filter(|session| session.alone) else { continue };
        match session.context.latest_token() {
            Some(token) if rng.u8(..) < 100 => {
                let _ = worker.reports.send(Report::Moves { context: session.number, token: token.to_string() });
            }
            _ => worker.share(session),
        }
    }
}

impl Worker {
    /// A context from another process, one of other callers, a new one, or none.
    fn session(&self, rng: &mut Rng) -> Option<Session> {
        if rng.u8(..) < 20 {
            return None;
        }
        if let Some(arrived) = self.arrived.lock().pop() {
            return Some(arrived);
        }
        let shared = self.shared.lock();
        if rng.bool() && !shared.is_empty() {
            return Some(shared[rng.usize(..shared.len())].clone());
        }
        let number = self.numbers.fetch_add(1, Relaxed) + 1;
        Some(Session { number, context: Context::anonymous(), alone: true })
    }

    fn share(&self, session: Session) {
        let mut shared = self.shared.lock();
        shared.push(Session { alone: false, ..session });
        if shared.len() > SHARED {
            shared.remove(0);
        }
    }

    async fn operate(&self, rng: &mut Rng, session: Option<&Session>) {
        let hot = rng.u8(..) < 140;
        let key = if hot { rng.u32(..HOT) } else { rng.u32(..self.setup.keys) };
        // Hot registers are written often; of the others an entry lives long enough to be found.
        let writes = rng.u8(..) < if hot { 25 } else { 8 };
        let method = if writes { a_write(rng) } else { a_read(rng) };
        let patience = Duration::from_micros(if rng.u8(..) < 4 { rng.u64(..6000) } else { 60_000_000 });
        let start = now();
        let version = match session {
            Some(session) => timeout(patience, session.context.clone().scope(self.call(method, key))).await,
            None => timeout(patience, self.call(method, key)).await,
        };
        let end = now();
        let version = version.ok().flatten();
        let context = session.map_or(0, |session| session.number);
        let record = Record { process: self.setup.process, context, key, method, start, end, version };
        if self.journal.add(&record).is_err() {
            self.ending.send_replace(true);
        }
        self.operations.fetch_add(1, Relaxed);
        if let Some(reads) = self.reads.get(method as usize) {
            reads.fetch_add(1, Relaxed);
        }
    }

    async fn call(&self, method: Method, key: u32) -> Option<i64> {
        let key = i64::from(key);
        let result: Result<i64, Failure> = match &self.store {
            Store::Dbopt(registers) => registers.run(method, key).await.map_err(Into::into),
            Store::Plain(plain) => plain.run(method, key).await,
        };
        result.inspect_err(|error| tracing::debug!(%error, "an operation failed")).ok()
    }

    fn report(&self) {
        let mut figures = Figures { operations: self.operations.load(Relaxed), ..Figures::default() };
        for (number, reads) in self.reads.iter().enumerate() {
            figures.reads[number] = reads.load(Relaxed);
            figures.bodies[number] = BODIES[number].load(Relaxed);
        }
        match &self.store {
            Store::Dbopt(registers) => {
                let status = registers.db.cache().status();
                (figures.l1_hits, figures.l2_hits) = (status.l1_hits, status.l2_hits);
                (figures.missed, figures.fenced) = (status.invalidations_missed, status.l2_fenced);
            }
            Store::Plain(_) => figures.bodies[0] = baseline::LOADS.load(Relaxed),
        }
        let _ = self.reports.send(Report::Figures(figures));
    }
}

fn a_read(rng: &mut Rng) -> Method {
    match rng.u8(0..100) {
        0..30 => Method::Cached,
        30..40 => Method::Memory,
        40..50 => Method::Redis,
        50..60 => Method::Refreshed,
        60..97 => Method::Strong,
        _ => Method::Plain,
    }
}

fn a_write(rng: &mut Rng) -> Method {
    match rng.u8(0..100) {
        0..45 => Method::Write,
        45..65 => Method::WriteThrough,
        65..85 => Method::WriteThroughStrong,
        85..95 => Method::Transaction,
        _ => Method::RolledBack,
    }
}
