//! Look-ups of many callers in few commands: while some are under way, what arrives waits and then goes together. A lone
//! look-up goes at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use redis::{Cmd, Pipeline, Value};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::judge::Answer;
use super::layer::Inner;
use super::ticket::read_epoch;
use super::{Error, writers};

/// Commands under way at once.
pub(super) const LANES: usize = 2;
/// Look-ups in one command, and about how many bytes its answer may have: others wait behind it.
const TOGETHER: usize = 128;
const BYTES: usize = 1 << 20;
/// Look-ups that may wait.
const WAITING: usize = 4096;

pub(super) struct Queue {
    sender: mpsc::Sender<Ask>,
    receiver: Mutex<mpsc::Receiver<Ask>>,
    /// Commands under way.
    busy: AtomicUsize,
}

/// Counts a command as long as it is under way, dropped or not.
struct Busy<'a>(&'a AtomicUsize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

struct Ask {
    keys: Vec<String>,
    strong: bool,
    reply: oneshot::Sender<Result<Answer, Error>>,
}

impl Queue {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(receiver), busy: AtomicUsize::new(0) }
    }

    /// What Redis holds under `keys`, and the epoch; with `strong` also whether the writers are to be trusted.
    pub(super) async fn ask(&self, inner: &Inner, keys: Vec<String>, strong: bool) -> Result<Answer, Error> {
        // Nobody to go together with: without the way through a lane and back.
        if self.busy.compare_exchange(0, 1, Relaxed, Relaxed).is_ok() {
            let _busy = Busy(&self.busy);
            inner.counters.batches.one();
            let Batch { epoch, trusted, values, .. } = fetch(inner, &keys, strong).await?;
            return Ok(Answer { epoch, trusted, values: values.map(bytes).collect() });
        }
        let (reply, answer) = oneshot::channel();
        self.sender.try_send(Ask { keys, strong, reply }).map_err(|_| Error::Refused)?;
        answer.await.unwrap_or(Err(Error::Down))
    }
}

/// One lane: takes what waits, asks, hands out the answers.
pub(super) async fn run(inner: Arc<Inner>) {
    tokio::select! {
        () = inner.closed() => {}
        () = lane(&inner) => {}
    }
}

async fn lane(inner: &Inner) {
    let mut asks = Vec::with_capacity(TOGETHER);
    let mut together = TOGETHER;
    loop {
        {
            let mut receiver = inner.queue.receiver.lock().await;
            if receiver.recv_many(&mut asks, together).await == 0 {
                return;
            }
            if asks.len() < together {
                // Callers that are ready to run get to ask first; a lone one loses nothing by it.
                tokio::task::yield_now().await;
                while asks.len() < together
                    && let Ok(ask) = receiver.try_recv()
                {
                    asks.push(ask);
                }
            }
        }
        asks.retain(|ask| !ask.reply.is_closed());
        if asks.is_empty() {
            continue;
        }
        inner.counters.batches.one();
        inner.queue.busy.fetch_add(1, Relaxed);
        let _busy = Busy(&inner.queue.busy);
        let (keys, strong) = (asks.iter().flat_map(|ask| &ask.keys), asks.iter().any(|ask| ask.strong));
        // Whoever asks has given up long before.
        let limit = 4 * inner.config.timeout;
        match timeout(limit, fetch(inner, keys, strong)).await.unwrap_or(Err(Error::TimedOut)) {
            Ok(batch) => {
                let average = batch.bytes / asks.len();
                together = (BYTES / average.max(1)).clamp(1, TOGETHER);
                hand_out(&mut asks, batch);
            }
            Err(error) => asks.drain(..).for_each(|ask| drop(ask.reply.send(Err(error.clone())))),
        }
    }
}

struct Batch {
    epoch: Option<u64>,
    trusted: bool,
    bytes: usize,
    values: std::vec::IntoIter<Value>,
}

async fn fetch(inner: &Inner, keys: impl IntoIterator<Item = &String>, strong: bool) -> Result<Batch, Error> {
    let mut connection = inner.link.connection().ok_or(Error::Down)?;
    let mut command = Cmd::new();
    command.arg("MGET").arg(&inner.names.epoch);
    for key in keys {
        command.arg(key);
    }
    let (trusted, values) = if strong {
        let mut pipeline = Pipeline::with_capacity(3);
        writers::ask(&mut pipeline, &inner.names).add_command(command);
        let mut replies = connection.send_packed_commands(&pipeline, 0, 3).await?.into_iter();
        (writers::judge(inner, replies.next(), replies.next()), replies.next())
    } else {
        (false, Some(connection.send_packed_command(&command).await?))
    };
    let values = match values {
        Some(Value::Array(values)) => values,
        Some(Value::ServerError(error)) => return Err(redis::RedisError::from(error).into()),
        _ => return Err(Error::Server("MGET was answered with something else than a list".to_owned())),
    };
    let bytes_of = |value: &Value| if let Value::BulkString(bytes) = value { bytes.len() } else { 0 };
    let size = values.iter().map(bytes_of).sum();
    let mut values = values.into_iter();
    let epoch = values.next().and_then(bytes).and_then(|text| read_epoch(&text));
    Ok(Batch { epoch, trusted, bytes: size, values })
}

fn hand_out(asks: &mut Vec<Ask>, mut batch: Batch) {
    for ask in asks.drain(..) {
        let values = batch.values.by_ref().take(ask.keys.len()).map(bytes).collect();
        let _ = ask.reply.send(Ok(Answer { epoch: batch.epoch, values, trusted: batch.trusted }));
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}
