//! The connection: opened again and again, never used before Redis is known to be the one it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, PushInfo, RedisResult, Script};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::clock::{Reading, millis};
use super::events::{self, Body, Event, Push};
use super::layer::Inner;
use super::ticket::read_epoch;
use super::{Config, Error, scripts, writers};
use crate::breaker::{Backoff, BackoffPolicy};
use crate::random;
use crate::redis_link::{self, Gate, field};

const RECONNECT: BackoffPolicy = BackoffPolicy { initial: Duration::from_millis(20), max: Duration::from_secs(2) };
/// Between pings, and while calls are refused.
const PING: Duration = Duration::from_secs(1);
const PROBE: Duration = Duration::from_millis(50);
/// Unanswered pings in a row after which the connection is given up.
const GIVE_UP: u32 = 10;
/// Pings between looks at whether Redis evicts.
const MEMORY_LOOK: u32 = 10;

/// What is known of the connection; read without a lock.
pub(super) struct Link {
    client: Client,
    current: ArcSwapOption<Attached>,
    clock: ArcSwapOption<Reading>,
    pub(super) gate: Gate,
    /// Someone saw an epoch that is not ours, or a Redis that has become a replica.
    pub(super) look_again: Notify,
}

/// A connection whose Redis was compared with what the namespace remembers.
struct Attached {
    connection: MultiplexedConnection,
    epoch: AtomicU64,
    /// Whether generations live until they expire: Redis evicts nothing.
    reliable: AtomicBool,
    /// Redis 7 or later.
    modern: bool,
}

impl Link {
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let client = redis_link::client(&config.url).map_err(Error::Config)?;
        let (current, clock) = (ArcSwapOption::empty(), ArcSwapOption::empty());
        Ok(Self { client, current, clock, gate: Gate::default(), look_again: Notify::new() })
    }

    pub(super) fn is_attached(&self) -> bool {
        self.current.load().is_some()
    }

    pub(super) fn connection(&self) -> Option<MultiplexedConnection> {
        self.current.load().as_ref().map(|attached| attached.connection.clone())
    }

    pub(super) fn reading(&self) -> Option<Reading> {
        self.clock.load().as_deref().copied()
    }

    /// The latest that Redis' clock may show.
    pub(super) fn now_ms(&self) -> u64 {
        self.reading().map_or(u64::MAX, |reading| reading.latest(Instant::now()))
    }

    pub(super) fn is_reliable(&self) -> bool {
        self.current.load().as_ref().is_some_and(|attached| attached.reliable.load(Relaxed))
    }

    pub(super) fn is_modern(&self) -> bool {
        self.current.load().as_ref().is_some_and(|attached| attached.modern)
    }

    pub(super) fn know_epoch(&self, epoch: u64) {
        if let Some(attached) = self.current.load().as_ref() {
            attached.epoch.store(epoch, Relaxed);
        }
    }

    /// Asks for a second look when Redis shows another epoch than it did, or none.
    pub(super) fn compare(&self, epoch: Option<u64>) {
        if self.current.load().as_ref().is_some_and(|attached| epoch != Some(attached.epoch.load(Relaxed))) {
            self.look_again.notify_one();
        }
    }
}

pub(super) async fn invoke<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    script: &Script,
    keys: &[&str],
    arguments: &[&[u8]],
) -> RedisResult<T> {
    let mut invocation = script.prepare_invoke();
    for key in keys {
        invocation.key(key);
    }
    for argument in arguments {
        invocation.arg(argument);
    }
    invocation.invoke_async(connection).await
}

/// Keeps the connection until the layer is shut down.
pub(super) async fn run(inner: Arc<Inner>) {
    tokio::select! {
        () = inner.closed() => {}
        () = keep(&inner) => {}
    }
    inner.link.current.store(None);
}

async fn keep(inner: &Inner) {
    let mut backoff = Backoff::default();
    let mut known_epoch = None;
    loop {
        match connect(inner, &mut known_epoch).await {
            Ok((connection, pushes)) => {
                backoff.reset();
                inner.counters.connects.one();
                inner.link.gate.open();
                tracing::info!(target: "dbopt::cache", "connected to Redis");
                inner.tell(Event::Up);
                tokio::select! {
                    () = listen(inner, pushes) => {}
                    () = ping(inner, connection, &mut known_epoch) => {}
                }
                inner.link.current.store(None);
                inner.tell(Event::Down);
                tracing::warn!(target: "dbopt::cache", "the connection to Redis was lost; calls go on without it");
            }
            Err(error) if backoff.failures() == 0 => {
                tracing::warn!(target: "dbopt::cache", %error, "cannot connect to Redis; calls go on without it");
            }
            Err(error) => tracing::debug!(target: "dbopt::cache", %error, "still cannot connect to Redis"),
        }
        sleep(backoff.failed(RECONNECT, Instant::now(), random::fraction())).await;
    }
}

type Pushes = mpsc::UnboundedReceiver<PushInfo>;

async fn connect(inner: &Inner, known: &mut Option<u64>) -> Result<(MultiplexedConnection, Pushes), Error> {
    let limit = inner.config.connect_timeout;
    let (sender, pushes) = mpsc::unbounded_channel();
    let config = AsyncConnectionConfig::new()
        .set_push_sender(sender)
        .set_connection_timeout(Some(limit))
        .set_response_timeout(None);
    let opening = async {
        let mut connection = inner.link.client.get_multiplexed_async_connection_with_config(&config).await?;
        let server = attach(inner, &mut connection, known).await?;
        if inner.config.strong {
            writers::vouch(inner, &mut connection).await;
        }
        connection.subscribe(&inner.names.events).await?;
        Ok::<_, Error>((connection, server))
    };
    let (connection, server) = timeout(2 * limit, opening).await.map_err(|_| Error::TimedOut)??;
    let attached = Attached {
        connection: connection.clone(),
        epoch: AtomicU64::new(known.unwrap_or_default()),
        reliable: AtomicBool::new(server.reliable),
        modern: server.modern,
    };
    inner.link.current.store(Some(Arc::new(attached)));
    Ok((connection, pushes))
}

struct Server {
    reliable: bool,
    modern: bool,
}

/// Makes sure that the namespace's epoch belongs to this run of Redis, and says what Redis is.
async fn attach(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    known: &mut Option<u64>,
) -> Result<Server, Error> {
    primary(connection).await?;
    let info: String = redis::cmd("INFO").arg("server").query_async(connection).await?;
    let run_id = field(&info, "run_id").unwrap_or_default();
    let modern = field(&info, "redis_version").and_then(|version| version.split('.').next()?.parse().ok());
    let (names, config) = (&inner.names, &inner.config);
    let fresh = random::id();
    let past = millis(config.forget_after.saturating_sub(config.settle)).to_string();
    let keys = [&names.epoch, &names.server, &names.writers].map(String::as_str);
    let arguments = [run_id.as_bytes(), fresh.as_bytes(), past.as_bytes()];
    let (epoch, new): (String, u8) = invoke(connection, &scripts::ATTACH, &keys, &arguments).await?;
    let epoch = read_epoch(epoch.as_bytes());
    if new == 1 {
        tracing::info!(target: "dbopt::cache", "Redis is new or lost its data: a new epoch begins");
    }
    if known.is_some() && *known != epoch {
        inner.tell(Event::Cleared);
    }
    *known = epoch;
    let modern = modern.unwrap_or(0) >= 7;
    scripts::ahead(modern).exec_async(connection).await?;
    let reliable = reliable(connection).await?;
    read_clock(inner, connection).await?;
    Ok(Server { reliable, modern })
}

/// A replica lags behind: what it shows may have been invalidated.
async fn primary(connection: &mut MultiplexedConnection) -> Result<(), Error> {
    let info: String = redis::cmd("INFO").arg("replication").query_async(connection).await?;
    if field(&info, "role") == Some("slave") { Err(replica()) } else { Ok(()) }
}

fn replica() -> Error {
    Error::Server("READONLY this Redis is a replica".to_owned())
}

/// Whether Redis evicts nothing.
async fn reliable(connection: &mut MultiplexedConnection) -> Result<bool, Error> {
    let info: String = redis::cmd("INFO").arg("memory").query_async(connection).await?;
    Ok(field(&info, "maxmemory") == Some("0") || field(&info, "maxmemory_policy") == Some("noeviction"))
}

async fn read_clock(inner: &Inner, connection: &mut MultiplexedConnection) -> Result<(), Error> {
    let asked = Instant::now();
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
    let millis = seconds * 1000 + micros / 1000;
    inner.link.clock.store(Some(Arc::new(Reading { asked, answered: Instant::now(), millis })));
    Ok(())
}

/// Passes messages on until the connection is lost.
async fn listen(inner: &Inner, mut pushes: Pushes) {
    while let Some(push) = pushes.recv().await {
        match events::read(&push) {
            Push::Lost => return,
            Push::Unreadable => inner.tell(Event::Cleared),
            Push::Message(message) if message.origin != inner.instance => {
                if let Body::Cleared(epoch) = message.body {
                    inner.link.know_epoch(epoch);
                }
                inner.tell(message.body.into());
            }
            Push::Message(_) | Push::Other => {}
        }
    }
}

/// Asks Redis for its time again and again; returns when it has not answered for long.
async fn ping(inner: &Inner, mut connection: MultiplexedConnection, known: &mut Option<u64>) {
    let link = &inner.link;
    let (mut unanswered, mut silent) = (0, false);
    for round in 1u32.. {
        let mut look_again = false;
        tokio::select! {
            () = sleep(if link.gate.refuses() || unanswered > 0 { PROBE } else { PING }) => {}
            () = link.gate.tripped.notified() => {}
            () = link.look_again.notified() => look_again = true,
        }
        let question = async {
            if look_again {
                *known = link.current.load().as_ref().map(|attached| attached.epoch.load(Relaxed));
                attach(inner, &mut connection, known).await?;
                link.know_epoch(known.unwrap_or_default());
            } else {
                primary(&mut connection).await?;
            }
            if round.is_multiple_of(MEMORY_LOOK) {
                let reliable = reliable(&mut connection).await?;
                if let Some(attached) = link.current.load().as_ref() {
                    attached.reliable.store(reliable, Relaxed);
                }
            }
            read_clock(inner, &mut connection).await?;
            match writers::forget(inner, &mut connection).await {
                // It takes no writes at the moment; another time, then.
                Err(Error::Server(_)) => Ok(()),
                result => result,
            }
        };
        match timeout(inner.config.connect_timeout, question).await.unwrap_or(Err(Error::TimedOut)) {
            Ok(()) => {
                link.gate.open();
                unanswered = 0;
                if std::mem::take(&mut silent) {
                    inner.tell(Event::Up);
                }
            }
            Err(Error::Down) => return,
            // Another one is the primary now; the address may lead to it.
            Err(error) if error == replica() => return,
            Err(error) => {
                if look_again {
                    link.look_again.notify_one();
                    sleep(PROBE).await;
                }
                if error == Error::TimedOut {
                    unanswered += 1;
                    link.gate.refuse();
                }
                if !std::mem::replace(&mut silent, true) {
                    tracing::warn!(target: "dbopt::cache", %error, "Redis does not answer; calls go on without it");
                    inner.tell(Event::Down);
                }
                if unanswered >= GIVE_UP {
                    return;
                }
            }
        }
    }
}

impl Inner {
    pub(super) fn tell(&self, event: Event) {
        // Nobody to tell: the owner does not keep anything in memory.
        let _ = self.events.send(event);
    }
}
