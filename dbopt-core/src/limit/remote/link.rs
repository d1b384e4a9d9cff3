//! The connection: opened again and again; nobody asks for permits before Redis was told what was admitted without it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep, timeout};

use super::{Owner, Store, scripts};
use crate::breaker::{Backoff, BackoffPolicy};
use crate::random;
use crate::redis_link::{Error, field};

const RECONNECT: BackoffPolicy = BackoffPolicy { initial: Duration::from_millis(20), max: Duration::from_millis(500) };
const CONNECT: Duration = Duration::from_millis(300);
/// Between signs of life, and while Redis is not asked.
const PING: Duration = Duration::from_secs(1);
const PROBE: Duration = Duration::from_millis(50);
/// Unanswered pings in a row after which the connection is given up.
const GIVE_UP: u32 = 10;
/// After a loss: so long all instances have to come back and tell what they admitted meanwhile.
const SETTLE: Duration = Duration::from_millis(700);
/// An instance that was silent for so many seconds is gone.
const REMEMBERED: &str = "10";
/// Groups in one command that tells what is owed.
const TOGETHER: usize = 64;

/// What is known of the connection.
#[derive(Default)]
pub(super) struct Link {
    current: ArcSwapOption<MultiplexedConnection>,
    ready: AtomicBool,
    losses: AtomicU64,
}

impl Link {
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    pub(super) fn connection(&self) -> Option<MultiplexedConnection> {
        self.current.load().as_deref().cloned()
    }
}

/// Keeps the connection until the limiter is gone.
pub(in crate::limit) async fn keep(store: Arc<Store>, owner: Weak<dyn Owner>) {
    let mut backoff = Backoff::default();
    let mut known = None;
    loop {
        match connect(&store, &owner, &mut known).await {
            Ok(mut connection) => {
                backoff.reset();
                tracing::info!(target: "dbopt::limit", "limits are counted in Redis");
                ping(&store, &mut connection).await;
                store.link.ready.store(false, Relaxed);
                store.link.current.store(None);
                store.link.losses.fetch_add(1, Relaxed);
                tracing::warn!(target: "dbopt::limit", "the connection to Redis was lost; limit.when_redis_is_lost decides");
            }
            Err(error) if backoff.failures() == 0 => {
                tracing::warn!(target: "dbopt::limit", %error, "cannot connect to Redis; limit.when_redis_is_lost decides");
            }
            Err(error) => tracing::debug!(target: "dbopt::limit", %error, "still cannot connect to Redis"),
        }
        if owner.strong_count() == 0 {
            return;
        }
        sleep(backoff.failed(RECONNECT, Instant::now(), random::fraction())).await;
    }
}

async fn connect(
    store: &Store,
    owner: &Weak<dyn Owner>,
    known: &mut Option<String>,
) -> Result<MultiplexedConnection, Error> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
    let opening = async {
        let mut connection = store.client.get_multiplexed_async_connection_with_config(&config).await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let mut pipeline = redis::pipe();
        for script in [&scripts::TAKE, &scripts::GIVE_BACK, &scripts::PRESENT] {
            pipeline.load_script(script).ignore();
        }
        pipeline.exec_async(&mut connection).await?;
        present(store, &mut connection).await?;
        Ok::<_, Error>((connection, field(&info, "run_id").unwrap_or_default().to_owned()))
    };
    let (mut connection, run) = timeout(2 * CONNECT, opening).await.map_err(|_| Error::TimedOut)??;
    let again = known.is_some();
    let forgot = known.as_ref().is_some_and(|known| *known != run);
    tell(store, owner, &mut connection, forgot).await?;
    if again || store.link.losses.load(Relaxed) > 0 {
        sleep(SETTLE).await;
        tell(store, owner, &mut connection, false).await?;
    }
    *known = Some(run);
    store.link.current.store(Some(Arc::new(connection.clone())));
    store.gate.open();
    store.link.ready.store(true, Relaxed);
    Ok(connection)
}

/// Tells Redis what was admitted without it.
async fn tell(
    store: &Store,
    owner: &Weak<dyn Owner>,
    connection: &mut MultiplexedConnection,
    everything: bool,
) -> Result<(), Error> {
    let Some(owner) = owner.upgrade() else { return Ok(()) };
    let owed = owner.owed(everything);
    for groups in owed.chunks(TOGETHER) {
        let telling = super::gather::take(store, connection, groups);
        timeout(CONNECT, telling).await.map_err(|_| Error::TimedOut)??;
    }
    Ok(())
}

async fn present(store: &Store, connection: &mut MultiplexedConnection) -> Result<(), Error> {
    let key = format!("{}instances", store.prefix);
    let mut script = scripts::PRESENT.key(key);
    let there: usize = script.arg(&store.instance).arg(REMEMBERED).invoke_async(connection).await?;
    store.instances.store(there, Relaxed);
    Ok(())
}

/// Says again and again that this instance is there; returns when Redis has not answered for long.
async fn ping(store: &Store, connection: &mut MultiplexedConnection) {
    let (mut unanswered, mut silent) = (0, false);
    loop {
        tokio::select! {
            () = sleep(if store.gate.refuses() || unanswered > 0 { PROBE } else { PING }) => {}
            () = store.gate.tripped.notified() => {}
        }
        match timeout(CONNECT, present(store, connection)).await.unwrap_or(Err(Error::TimedOut)) {
            Ok(()) => {
                store.gate.open();
                unanswered = 0;
                if std::mem::take(&mut silent) {
                    tracing::info!(target: "dbopt::limit", "Redis answers again");
                }
            }
            Err(Error::TimedOut) => {
                unanswered += 1;
                store.gate.refuse();
                if !std::mem::replace(&mut silent, true) {
                    tracing::warn!(target: "dbopt::limit", "Redis does not answer; limit.when_redis_is_lost decides");
                }
                if unanswered >= GIVE_UP {
                    return;
                }
            }
            // It takes no writes, or it is gone.
            Err(_) => return,
        }
    }
}
