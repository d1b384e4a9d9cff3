//! Look-ups of many callers in few commands.

use std::sync::Arc;

use redis::{Cmd, Pipeline, Value};

use super::judge::Answer;
use super::layer::Inner;
use super::ticket::read_epoch;
use super::{Error, writers};
use crate::redis_link::Asked;

/// Look-ups that may wait.
pub(super) const WAITING: usize = 4096;

/// The keys that a caller asks for; `strong`: also whether the writers are to be trusted.
pub(super) struct Question {
    pub(super) keys: Vec<String>,
    pub(super) strong: bool,
}

/// One lane, until the layer is shut down.
pub(super) async fn run(inner: Arc<Inner>) {
    tokio::select! {
        () = inner.closed() => {}
        // Whoever asks has given up long before.
        () = inner.queue.lane(&inner, 4 * inner.config.timeout) => {}
    }
}

impl Asked for Inner {
    type Question = Question;
    type Answer = Answer;

    async fn ask(&self, questions: &[Question]) -> Result<(Vec<Answer>, usize), Error> {
        self.counters.batches.one();
        let strong = questions.iter().any(|question| question.strong);
        let mut connection = self.link.connection().ok_or(Error::Down)?;
        let mut command = Cmd::new();
        command.arg("MGET").arg(&self.names.epoch);
        for key in questions.iter().flat_map(|question| &question.keys) {
            command.arg(key);
        }
        let (trusted, values) = if strong {
            let mut pipeline = Pipeline::with_capacity(3);
            writers::ask(&mut pipeline, &self.names).add_command(command);
            let mut replies = connection.send_packed_commands(&pipeline, 0, 3).await?.into_iter();
            (writers::judge(self, replies.next(), replies.next()), replies.next())
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
        let mut values = values.into_iter().map(bytes);
        let epoch = values.next().flatten().and_then(|text| read_epoch(&text));
        let answer = |question: &Question| Answer {
            epoch,
            trusted,
            values: values.by_ref().take(question.keys.len()).collect(),
        };
        Ok((questions.iter().map(answer).collect(), size))
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}
