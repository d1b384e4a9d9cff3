//! Look-ups of many callers in few commands: while some are under way, what arrives waits and then goes together. A lone
//! look-up goes at once.

use std::sync::Arc;

use redis::{Cmd, Pipeline, Value};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::judge::Answer;
use super::layer::Inner;
use super::ticket::read_epoch;
use super::{Error, writers};

/// Commands under way at once.
pub(super) const LANES: usize = 2;
/// Look-ups in one command.
const TOGETHER: usize = 128;
/// Look-ups that may wait.
const WAITING: usize = 4096;

pub(super) struct Queue {
    sender: mpsc::Sender<Ask>,
    receiver: Mutex<mpsc::Receiver<Ask>>,
}

struct Ask {
    keys: Vec<String>,
    strong: bool,
    reply: oneshot::Sender<Result<Answer, Error>>,
}

impl Queue {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(receiver) }
    }

    /// What Redis holds under `keys`, and the epoch; with `strong` also whether the writers are to be trusted.
    pub(super) async fn ask(&self, keys: Vec<String>, strong: bool) -> Result<Answer, Error> {
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
    loop {
        {
            let mut receiver = inner.queue.receiver.lock().await;
            if receiver.recv_many(&mut asks, TOGETHER).await == 0 {
                return;
            }
            if asks.len() < TOGETHER {
                // Callers that are ready to run get to ask first; a lone one loses nothing by it.
                tokio::task::yield_now().await;
                while asks.len() < TOGETHER
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
        // Whoever asks has given up long before.
        let limit = 4 * inner.config.timeout;
        match timeout(limit, fetch(inner, &asks)).await.unwrap_or(Err(Error::TimedOut)) {
            Ok(batch) => hand_out(&mut asks, batch),
            Err(error) => asks.drain(..).for_each(|ask| drop(ask.reply.send(Err(error.clone())))),
        }
    }
}

struct Batch {
    epoch: Option<u64>,
    trusted: bool,
    values: std::vec::IntoIter<Value>,
}

async fn fetch(inner: &Inner, asks: &[Ask]) -> Result<Batch, Error> {
    let mut connection = inner.link.connection().ok_or(Error::Down)?;
    let mut command = Cmd::new();
    command.arg("MGET").arg(&inner.names.epoch);
    for key in asks.iter().flat_map(|ask| &ask.keys) {
        command.arg(key);
    }
    let (trusted, values) = if asks.iter().any(|ask| ask.strong) {
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
    let mut values = values.into_iter();
    let epoch = values.next().and_then(bytes).and_then(|text| read_epoch(&text));
    Ok(Batch { epoch, trusted, values })
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
